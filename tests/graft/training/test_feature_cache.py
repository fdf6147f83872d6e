import pytest
import torch

from graft.data.augment import augment
from graft.data.split import Domains
from graft.networks.network import predict
from graft.settings import Augmentation
from graft.training.feature_cache import cache_features
from tests.graft.pictures import bars, tiny_network

SHIFT = Augmentation(crop=2)


def test_plain_views_are_the_features_that_prediction_sees() -> None:
    network = tiny_network().train()
    domains = Domains(bars(300), bars(12, seed=1), bars(9, seed=2), bars(15, seed=3))
    cached = cache_features(network, domains, 1, SHIFT, seed=0)
    for name in ("target", "validation", "source", "unlabelled"):
        pictures, features = getattr(domains, name), getattr(cached, name)
        torch.testing.assert_close(features.images, predict(network, pictures.images)[1])
        assert torch.equal(features.labels, pictures.labels)
        assert features.classes == pictures.classes
    assert not cached.target.images.requires_grad


def test_further_views_are_augmented_and_of_the_training_pictures_alone() -> None:
    network, pictures = tiny_network(), bars(30)
    cached = cache_features(network, Domains(pictures, bars(12, seed=1)), 3, SHIFT, seed=4)
    assert len(cached.target) == len(cached.target.labels) == 90
    assert torch.equal(cached.target.labels, pictures.labels.repeat(3))
    assert len(cached.validation) == 12
    generator = torch.Generator().manual_seed(4)
    for view in (1, 2):
        expected = predict(network, augment(pictures.images.float() / 255, SHIFT, generator))[1]
        torch.testing.assert_close(cached.target.images[30 * view : 30 * (view + 1)], expected)


def test_without_augmentation_all_views_would_be_alike_so_there_is_one() -> None:
    domains = Domains(bars(30), bars(12, seed=1))
    assert len(cache_features(tiny_network(), domains, 5, Augmentation(), seed=0).target) == 30


def test_pictures_pass_in_chunks_and_leave_the_batch_norm_statistics_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graft.networks.network._MOST_ON_CPU", 8 * 8 * 8)  # eight images of 8 x 8
    network, sizes = tiny_network().train(), []
    network.backbone.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    cache_features(network, Domains(bars(18), bars(3)), 1, Augmentation(), seed=0)
    assert sizes == [8, 8, 2, 3]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
