"""Adaptive sampling draws images that resemble the target, with each similarity measure."""

import pytest
import torch

from graft.data.split import Domains, Split
from graft.loop import train
from graft.settings import Training
from graft.strategies.adaptive_sampling import AdaptiveSampling
from graft.strategies.scratch import Scratch
from tests.graft.pictures import CLASSES, bars, tiny_network

BRIEF = Training(steps=8, batch_size=12, learning_rate=0.01, evaluations=1)


@pytest.fixture(scope="module")
def domains() -> Domains:
    """A source of two kinds, its first half as dim as the target, its second half inverted."""
    like, unlike = bars(60, seed=1), bars(60, seed=2)
    images = torch.cat([like.images, 255 - unlike.images])
    source = Split(images, torch.cat([like.labels, unlike.labels]), CLASSES)
    return Domains(bars(12, seed=3), bars(12, seed=4), source, bars(90, seed=5).without_labels())


@pytest.mark.parametrize("score", ["density_ratio", "nearest_neighbour", "classifier"])
def test_the_kind_of_source_picture_that_resembles_the_target_is_drawn(score: str, domains: Domains) -> None:
    assert domains.source is not None
    network = tiny_network()
    train(network, Scratch(), Domains(domains.source, domains.validation), BRIEF)
    strategy = AdaptiveSampling(score=score, share=0.4)  # type: ignore[arg-type]
    network = strategy.adapt(network, CLASSES)
    weights = train(network, strategy, domains, BRIEF).source_weights
    assert weights is not None
    assert weights[:60].sum() > 0.9 * weights.sum()
    for label in range(len(CLASSES)):
        drawn = weights[domains.source.labels == label]
        assert (drawn > 0).sum() == 16, "0.4 of the 40 images of each class"


def test_classes_that_resemble_nothing_of_the_target_are_left_out_where_it_lacks_them(domains: Domains) -> None:
    """The target has two of the three classes; among all images, the third is hardly drawn."""
    assert domains.source is not None
    assert domains.unlabelled is not None
    network = tiny_network()
    train(network, Scratch(), Domains(bars(120, seed=1), domains.validation), BRIEF)
    labels = bars(90, seed=5).labels
    few = bars(90, seed=5).take((labels < 2).nonzero().flatten())
    source = bars(120, seed=6)

    def drawn(among: str, classes: tuple[str, ...]) -> float:
        strategy = AdaptiveSampling(share=0.3, among=among)  # type: ignore[arg-type]
        target = Split(few.images, few.labels, classes)
        weights = strategy.source_weights(network, Domains(target, target, source, target.without_labels()))
        return float(weights[source.labels == 2].sum() / weights.sum())

    assert drawn("class", CLASSES[:2]) == pytest.approx(1 / 3)
    assert drawn("all", CLASSES[:2]) < 0.1
    assert drawn("auto", CLASSES[:2]) == drawn("all", CLASSES[:2])
    assert drawn("auto", CLASSES) == drawn("class", CLASSES)


def test_the_source_keeps_its_head_while_training_and_loses_it_in_the_end(domains: Domains) -> None:
    strategy = AdaptiveSampling()
    network = strategy.adapt(tiny_network(), ("left", "elsewhere"))
    assert network.extras["source_head"].out_features == len(CLASSES)
    assert not strategy.finish(network).extras


def test_the_new_head_learns_at_its_own_rate() -> None:
    strategy = AdaptiveSampling(head_rate=5.0)
    network = strategy.adapt(tiny_network(), CLASSES)
    rates = {id(p): group.rate for group in strategy.parameter_groups(network) for p in group.parameters}
    assert [rates[id(p)] for p in network.head.parameters()] == [5.0, 5.0]
    others = [*network.backbone.parameters(), *network.extras["source_head"].parameters()]
    assert {rates[id(p)] for p in others} == {1.0}


def test_batch_norm_keeps_the_statistics_of_the_target(domains: Domains) -> None:
    strategy = AdaptiveSampling()
    bright = Domains(domains.target, domains.validation, domains.source, domains.unlabelled)
    assert bright.source is not None
    white = Split(torch.full_like(bright.source.images, 255), bright.source.labels, CLASSES)
    first, second = (strategy.adapt(tiny_network(seed=1), CLASSES) for _ in range(2))
    still = Training(steps=4, batch_size=12, learning_rate=1e-12, evaluations=1)
    train(first, strategy, bright, still)
    train(second, strategy, Domains(bright.target, bright.validation, white, bright.unlabelled), still)
    for name, value in first.backbone.named_buffers():
        torch.testing.assert_close(value, dict(second.backbone.named_buffers())[name], msg=name)
