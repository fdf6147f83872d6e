import copy

import pytest
import torch

from graft.data.split import Domains, Split
from graft.loop import train
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies.scratch import Scratch
from graft.strategies.shot import Shot, _Centroids
from tests.graft.pictures import CLASSES, bars, tiny_network

HOW = Training(steps=60, batch_size=24, learning_rate=0.01, evaluations=3)


def dimmed(split: Split) -> Split:
    """Another domain: the same bars at a quarter of their brightness."""
    return Split(split.images // 4, split.labels, split.classes)


@pytest.fixture(scope="module")
def source() -> Network:
    network = tiny_network(seed=4)
    how = Training(steps=60, batch_size=16, learning_rate=0.02)
    train(network, Scratch(), Domains(bars(90), bars(30, seed=1)), how)
    return network


def accuracy(network: Network) -> float:
    test = dimmed(bars(300, seed=9))
    return (predict(network, test.images)[0].argmax(dim=1) == test.labels).double().mean().item()


def test_the_sources_weights_and_an_unlabelled_target_are_enough(source: Network) -> None:
    strategy = Shot()
    network = strategy.adapt(copy.deepcopy(source), CLASSES)
    pool = dimmed(bars(120, seed=2)).without_labels()
    fit = train(network, strategy, Domains(pool, dimmed(bars(30, seed=3))), HOW)
    assert accuracy(network) > accuracy(source) + 0.1
    assert torch.equal(network.head.weight, source.head.weight), "the head is the source's"
    assert all(point.label_free is not None for point in fit.curve)
    finished = strategy.finish(network)
    assert all(parameter.requires_grad for parameter in finished.parameters())
    assert list(finished.state_dict()) == list(source.state_dict())


def test_a_target_class_that_the_source_lacks_is_refused(source: Network) -> None:
    with pytest.raises(ValueError, match="lacks these target classes: elsewhere"):
        Shot().adapt(copy.deepcopy(source), ("left", "elsewhere"))


def test_the_means_lie_where_the_classes_are_and_follow_them() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(3, 8)
    labels = torch.arange(90) % 3
    features = centres[labels] + 0.1 * torch.randn(90, 8, generator=generator)
    wrong = torch.rand(90, 3, generator=generator)  # half of the answers are noise
    answers = 0.5 * torch.eye(3)[labels] + 0.5 * wrong / wrong.sum(dim=1, keepdim=True)
    centroids = _Centroids(features, answers)
    assert torch.equal(centroids.nearest(features), labels)
    turned = centres[:, [7, *range(7)]]
    for _ in range(300):
        centroids.follow(turned, torch.eye(3))
    torch.testing.assert_close(centroids.directions, turned, atol=0.1, rtol=0)


def test_the_mean_of_a_class_that_nothing_is_near_to_stays() -> None:
    centroids = _Centroids(torch.eye(3, 4), torch.eye(3))
    before = centroids.directions.clone()
    centroids.follow(torch.eye(2, 4), torch.eye(2, 3))
    assert torch.equal(centroids.directions[2], before[2])
