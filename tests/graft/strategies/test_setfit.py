"""Drawing features of one class together, and the probe that is fitted to them."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from graft.contract import Batch, Step
from graft.data.split import Domains
from graft.loop import Kept, train
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies.setfit import Setfit, pair_loss
from tests.graft.texts import CLASSES, text_network, texts

SHORT = Training(steps=30, batch_size=20, learning_rate=0.01, evaluations=3)


def tuned(strategy: Setfit, domains: Domains, keep: Kept | None = None) -> Network:
    torch.manual_seed(0)
    network = strategy.adapt(text_network(), CLASSES)
    train(network, strategy, domains, SHORT, keep=keep)
    return strategy.finish(network)


def accuracy(network: Network) -> float:
    test = texts(200, seed=2)
    return (predict(network, test.images)[0].argmax(dim=1) == test.labels).double().mean().item()


def test_the_loss_is_that_of_every_pair() -> None:
    features, labels = torch.randn(5, 4), torch.tensor([0, 1, 0, 2, 1])
    equal, unequal = [], []
    for i in range(5):
        for j in range(i):
            cosine = F.cosine_similarity(features[i], features[j], dim=0)
            (equal if labels[i] == labels[j] else unequal).append((cosine - (labels[i] == labels[j]).float()) ** 2)
    expected = (torch.stack(equal).mean() + torch.stack(unequal).mean()) / 2
    torch.testing.assert_close(pair_loss(features, labels), expected)
    assert pair_loss(features[:1], labels[:1]) == 0
    torch.testing.assert_close(pair_loss(features[:2], labels[:2]), unequal[0])


def test_tuning_makes_features_of_one_class_alike() -> None:
    domains = Domains(texts(20, seed=4), texts(20, seed=1))
    network = tuned(Setfit(rate=1.0), domains, Kept(SHORT.steps, "probe"))
    test = texts(100, seed=6)
    before, after = (pair_loss(predict(body, test.images)[1], test.labels) for body in (text_network(), network))
    assert after < 0.75 * before
    assert accuracy(network) > 0.8


def test_the_folds_choose_between_the_head_and_a_probe() -> None:
    torch.manual_seed(0)
    network = Setfit().adapt(text_network(), CLASSES)
    fit = train(network, Setfit(), Domains(texts(20), texts(20, seed=1)), SHORT)
    assert {kept.choice for kept in fit.answers} == {"", "probe"}


def test_source_pairs_count_as_their_share_says() -> None:
    network, strategy = Setfit().adapt(text_network(), CLASSES), Setfit(source_share=0.3)
    target, source = texts(12), texts(10, seed=3)
    strategy.begin(network, Domains(target, None, source))
    step = Step(Batch(target.images, target.labels), 0.0, Batch(source.images, source.labels))
    features, others = network.features(target.images), network.features(source.images)
    both = pair_loss(torch.cat([features, others]), torch.cat([target.labels, source.labels]))
    own = step.target.cross_entropy(network.head(features))
    expected = 0.7 * pair_loss(features, target.labels) + 0.3 * both + own
    torch.testing.assert_close(strategy.loss(network, step), expected)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_source_without_shared_classes_is_left_out(share: float) -> None:
    strangers = Domains(texts(20), texts(20, seed=1), replace(texts(20, seed=5), classes=("other", "another")))
    assert tuned(Setfit(source_share=share), strangers).head.weight.isfinite().all()
