"""Domain alignment during training, and batch norm with two domains."""

import copy
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graft.contract import Batch, Step
from graft.data.split import Domains, Split
from graft.loop import train
from graft.networks.batch_norm import batch_norms, estimate_statistics, statistics_kept
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies import strategy_class
from graft.strategies.adabn import Adabn
from graft.strategies.cdan import Cdan
from graft.strategies.coral import Coral
from graft.strategies.dann import Dann
from graft.strategies.mcc import Mcc
from graft.strategies.mixed_training import MixedTraining
from graft.strategies.mmd import Mmd
from graft.strategies.scratch import Scratch
from graft.techniques.alignment import AlignmentName
from graft.techniques.alignment.adversarial import Discriminator, reversal_strength
from graft.techniques.alignment.base import Outputs
from graft.techniques.alignment.coral import coral
from graft.techniques.alignment.mcc import class_confusion
from graft.techniques.alignment.mmd import mmd
from graft.techniques.unlabelled import Unlabelled
from tests.graft.pictures import CLASSES, bars, tiny_network

NAMES = get_args(AlignmentName)
BRIEF = Training(steps=40, batch_size=24, learning_rate=0.01, evaluations=2)
REORDERED_PART = ("right", "left")


def dimmed(split: Split) -> Split:
    """Another domain: the same bars at a quarter of their brightness."""
    return Split(split.images // 4, split.labels, split.classes)


def accuracy(network: Network, split: Split) -> float:
    return (predict(network, split.images)[0].argmax(1) == split.labels).double().mean().item()


def batch(split: Split) -> Batch:
    return Batch(split.images.float() / 255, split.labels)


def learned_source(seed: int) -> Network:
    network = tiny_network(seed=seed)
    how = Training(steps=60, batch_size=16, learning_rate=0.02)
    train(network, Scratch(), Domains(bars(90), bars(30, seed=1)), how)
    return network


@pytest.fixture(scope="module")
def pretrained() -> Network:
    return learned_source(3)


@pytest.fixture(scope="module")
def confused() -> Network:
    """A source network that does not happen to solve the target of the test."""
    return learned_source(4)


# Batch norm


def test_kept_statistics_do_not_move_while_batches_are_normalised_by_their_own() -> None:
    network = tiny_network()
    images = bars(12).images
    before = copy.deepcopy(network.backbone.state_dict())
    network.train()
    with statistics_kept(network.backbone):
        kept = network(images)
    for layer, name in ((layer, name) for layer in batch_norms(network) for name in ("running_mean", "running_var")):
        assert torch.equal(getattr(layer, name), torch.full_like(getattr(layer, name), float(name == "running_var")))
    torch.testing.assert_close(network(images), kept)
    assert not torch.equal(network.backbone.state_dict()["0.2.running_mean"], before["0.2.running_mean"])


def test_estimated_statistics_are_those_of_the_pictures() -> None:
    network, images = tiny_network(), bars(40).images
    first = cast(nn.Sequential, network.backbone[0])  # convolution, pooling, norm
    with torch.no_grad():
        inputs = first[1](first[0]((images.float() / 255 - network.mean) / network.std)).double().numpy()
    estimate_statistics(network, images, batch_size=20)
    np.testing.assert_allclose(first[2].running_mean, inputs.mean(axis=(0, 2, 3)), atol=1e-5)
    shuffled = inputs[torch.randperm(40, generator=torch.Generator().manual_seed(0)).numpy()]
    halves = [part.var(axis=(0, 2, 3), ddof=1) for part in (shuffled[:20], shuffled[20:])]
    np.testing.assert_allclose(first[2].running_var, np.mean(halves, axis=0), rtol=1e-4)
    assert first[2].momentum == 0.1
    assert not network.training


def test_statistics_do_not_depend_on_pictures_coming_class_by_class(pretrained: Network) -> None:
    images = bars(60, seed=5).images.float()
    images[:30] *= 0.2  # the first half is dark: in batches of one half the variance would be too small
    network, whole = copy.deepcopy(pretrained), copy.deepcopy(pretrained)
    estimate_statistics(network, images / 255, batch_size=20)
    estimate_statistics(whole, images / 255, batch_size=60)
    for found, expected in zip(batch_norms(network), batch_norms(whole), strict=True):
        torch.testing.assert_close(found.running_var, expected.running_var, rtol=0.1, atol=0)


def test_adabn_repairs_a_change_of_brightness(pretrained: Network) -> None:
    target = dimmed(bars(60, seed=5))
    before = accuracy(pretrained, target)
    network = Adabn().adapt(copy.deepcopy(pretrained), CLASSES)
    train(network, Adabn(), Domains(target, bars(60, seed=6)), BRIEF)  # validation is as bright as the source
    assert before < 0.7
    assert accuracy(network, target) > 0.95


def test_adabn_refuses_a_network_without_batch_norm(pretrained: Network) -> None:
    network = copy.deepcopy(pretrained)
    network.backbone[0][2], network.backbone[1][2] = nn.Identity(), nn.Identity()
    with pytest.raises(ValueError, match="'convnet_tiny' has no batch norm"):
        Adabn().adapt(network, CLASSES)


# The strategies


EACH = [
    Mmd(weight=2.5),
    Coral(weight=3.0),
    Dann(weight=0.7),
    Cdan(weight=0.7),
    Cdan(weight=0.7, entropy_conditioning=False),
    Mcc(weight=1.5, temperature=1.2),
]


def by_hand(strategy: Unlabelled, network: Network, source: Outputs, target: Outputs) -> Tensor:
    """The alignment of a strategy without its weight, and without a reversal of the discriminator's gradient."""
    if isinstance(strategy, Mmd):
        return mmd(source.features, target.features)
    if isinstance(strategy, Coral):
        return coral(source.features, target.features)
    if isinstance(strategy, Mcc):
        return class_confusion(target.logits, strategy.temperature)
    discriminator = cast(Discriminator, network.extras["alignment"].discriminator)
    if isinstance(strategy, Dann):
        return cast(Tensor, discriminator(source.features, target.features))
    seen, weights = [], []
    for domain in (source, target):
        p = domain.logits.detach().softmax(dim=1)
        seen.append(torch.einsum("bd,bk->bdk", domain.features, p).flatten(1))
        weights.append(1 + (p * p.log()).sum(dim=1).exp())
    entropies = cast(Cdan, strategy).entropy_conditioning
    return cast(Tensor, discriminator(*seen, tuple(weights) if entropies else None))


def ids(parameters: Iterable[nn.Parameter]) -> list[int]:
    return [id(parameter) for parameter in parameters]


def adapt(strategy: Unlabelled, pretrained: Network, target: Split, source: Split | None = None) -> Network:
    torch.manual_seed(0)
    network = strategy.adapt(copy.deepcopy(pretrained), target.classes)
    train(network, strategy, Domains(target, target, source or bars(90)), BRIEF, seed=1)
    return strategy.finish(network)


@pytest.mark.parametrize("strategy", EACH, ids=repr)
def test_the_loss_is_the_sources_cross_entropy_and_the_weighted_alignment(
    strategy: Unlabelled, pretrained: Network
) -> None:
    torch.manual_seed(0)
    network = strategy.adapt(copy.deepcopy(pretrained), CLASSES).eval()
    source, target = bars(12, seed=7), dimmed(bars(12, seed=8))
    seen = [Outputs(f, network.head(f)) for f in (network.features(split.images) for split in (source, target))]
    supervised = nn.functional.cross_entropy(seen[0].logits, source.labels)
    aligned = by_hand(strategy, network, *seen)
    step = Step(batch(target.without_labels()), 0.1, batch(source))
    found = strategy.loss(network, step)
    torch.testing.assert_close(found, supervised + strategy.weight * aligned)

    body, learned = list(network.backbone.parameters()), list(network.extras.parameters())
    strength = -reversal_strength(0.1) if learned else 1.0  # learned: gradient reversal, by its current strength
    gradients = [torch.autograd.grad(loss, body, retain_graph=True) for loss in (found, supervised, aligned)]
    for ours, plain, added in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain + strategy.weight * strength * added)
    if learned:
        pairs = [torch.autograd.grad(loss, learned, retain_graph=True) for loss in (found, aligned)]
        for ours, theirs in zip(*pairs, strict=True):
            torch.testing.assert_close(ours, strategy.weight * theirs)


@pytest.mark.parametrize("strategy", [Dann(discriminator_rate=0.5), Cdan(discriminator_rate=0.5)], ids=repr)
def test_a_discriminator_learns_at_its_own_rate(strategy: Unlabelled, pretrained: Network) -> None:
    network = strategy.adapt(copy.deepcopy(pretrained), CLASSES)
    own, discriminator = strategy.parameter_groups(network)
    assert (own.rate, discriminator.rate) == (1.0, 0.5)
    assert ids(own.parameters) == ids([*network.backbone.parameters(), *network.head.parameters()])
    assert ids(discriminator.parameters) == ids(network.extras["alignment"].parameters())


@pytest.mark.parametrize("name", NAMES)
def test_an_alignment_finds_the_classes_of_a_target_that_the_source_alone_confuses(
    name: str, confused: Network
) -> None:
    """The bars are one column further left: half of each is where the source's images have the next class."""
    target, others = (Split(s.images.roll(-1, 3), s.labels, CLASSES) for s in (bars(90, seed=5), bars(60, seed=6)))
    aligned = cast(Unlabelled, strategy_class(name)())
    unaligned = replace(aligned, weight=0.0)
    assert accuracy(adapt(unaligned, confused, target), others) < 0.75
    assert accuracy(adapt(aligned, confused, target), others) > 0.95


def test_the_target_may_have_a_part_of_the_classes_in_another_order(pretrained: Network) -> None:
    """Labels of the source index its own classes, and images of classes that the target lacks are left out."""
    target = dimmed(bars(90, seed=5))
    places = {0: 1, 2: 0}  # left and right
    part = target.take((target.labels != 1).nonzero().flatten())
    part = Split(part.images, torch.tensor([places[int(label)] for label in part.labels]), REORDERED_PART)
    strategy = Mmd()
    network = adapt(strategy, pretrained, part)
    assert network.description.classes == REORDERED_PART
    assert accuracy(network, part) > 0.95
    torch.manual_seed(0)
    adapted = strategy.adapt(copy.deepcopy(pretrained), REORDERED_PART)
    weights = strategy.source_weights(adapted, Domains(part, part, bars(6)))
    assert weights is not None
    assert weights.tolist() == [1, 0, 1, 1, 0, 1]


def test_running_statistics_are_the_targets_where_the_domains_pass_apart(pretrained: Network) -> None:
    def mean_after_a_step(batch_norm: str, source: Split) -> Tensor:
        strategy = replace(Mmd(), batch_norm=batch_norm)
        network = strategy.adapt(copy.deepcopy(pretrained), CLASSES)
        network.train()
        strategy.loss(network, Step(batch(bars(12, seed=2).without_labels()), 0.5, batch(source)))
        return batch_norms(network)[0].running_mean

    bright, dim = bars(12, seed=1), dimmed(bars(12, seed=1))
    assert torch.equal(mean_after_a_step("apart", bright), mean_after_a_step("apart", dim))
    assert not torch.equal(mean_after_a_step("together", bright), mean_after_a_step("together", dim))


# Alignment within mixed training


def test_mixed_training_keeps_the_targets_running_statistics(pretrained: Network) -> None:
    def mean_after_a_step(source: Split) -> Tensor:
        strategy = MixedTraining()
        network = strategy.adapt(copy.deepcopy(pretrained), CLASSES)
        network.train()
        strategy.loss(network, Step(batch(bars(12, seed=2)), 0.5, batch(source)))
        return batch_norms(network)[0].running_mean

    assert torch.equal(mean_after_a_step(bars(12, seed=1)), mean_after_a_step(dimmed(bars(12, seed=1))))


def mixed_loss(strategy: MixedTraining, network: Network) -> Tensor:
    unlabelled = batch(dimmed(bars(12, seed=9)).without_labels()) if strategy.uses_unlabelled else None
    return strategy.loss(network, Step(batch(dimmed(bars(12, seed=8))), 0.5, batch(bars(12, seed=7)), unlabelled))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("align_on", ["labelled", "unlabelled"])
def test_mixed_training_adds_the_alignment_it_is_asked_for(name: Any, align_on: Any, pretrained: Network) -> None:
    plain = MixedTraining()
    aligned = MixedTraining(alignment=name, alignment_weight=2.0, align_on=align_on)
    assert aligned.uses_unlabelled == (align_on == "unlabelled")
    torch.manual_seed(0)
    network = aligned.adapt(copy.deepcopy(pretrained), CLASSES).eval()
    source, target = (bars(12, seed=7), dimmed(bars(12, seed=8 if align_on == "labelled" else 9)))
    seen = [Outputs(f, network.head(f)) for f in (network.features(split.images) for split in (source, target))]
    added = mixed_loss(aligned, network) - mixed_loss(plain, network)
    torch.testing.assert_close(added, 2 * network.extras["alignment"](*seen, 0.5))


def test_mixed_training_trains_a_discriminator_at_its_own_rate(pretrained: Network) -> None:
    strategy = MixedTraining(alignment="dann", discriminator_rate=0.5)
    network = strategy.adapt(copy.deepcopy(pretrained), CLASSES)
    groups = strategy.parameter_groups(network)
    assert [group.rate for group in groups] == [1.0, 0.5]
    assert sum(len(list(group.parameters)) for group in groups) == len(list(network.parameters()))
    assert {id(p) for p in groups[1].parameters} == {id(p) for p in network.extras["alignment"].parameters()}


def test_mixed_training_draws_the_share_and_the_number_of_source_pictures_as_asked(pretrained: Network) -> None:
    def shares(schedule: Any) -> list[float]:
        strategy = MixedTraining(source_share=0.8, final_source_share=0.2, schedule=schedule)
        return [round(strategy.share(progress), 3) for progress in (0, 0.25, 0.5, 1)]

    assert shares("linear") == [0.8, 0.65, 0.5, 0.2]
    assert shares("constant") == [0.8] * 4
    assert shares("cosine") == [0.8, round(0.5 + 0.3 * math.cos(math.pi / 4), 3), 0.5, 0.2]
    strategy = MixedTraining(source_share=1.0, final_source_share=1.0, ratio=0.25)
    network = strategy.adapt(copy.deepcopy(pretrained), CLASSES).eval()
    three = bars(12, seed=7).take(torch.arange(3))
    expected = nn.functional.cross_entropy(network(three.images), three.labels)
    torch.testing.assert_close(mixed_loss(strategy, network), expected)


def test_mixed_training_has_as_many_heads_as_asked(pretrained: Network) -> None:
    def heads(heads: Any, classes: tuple[str, ...]) -> Network:
        return MixedTraining(heads=heads).adapt(copy.deepcopy(pretrained), classes)

    assert "source_head" not in heads("auto", CLASSES).extras
    assert "source_head" not in heads("auto", CLASSES[::-1]).extras
    assert "source_head" in heads("two", CLASSES).extras
    assert "source_head" in heads("auto", REORDERED_PART).extras
    one = heads("one", ("right", "elsewhere", "left"))
    assert "source_head" not in one.extras
    weights = MixedTraining(heads="one").source_weights(one, Domains(bars(3), bars(3), bars(3)))
    assert weights is not None
    assert weights.tolist() == [1, 0, 1]
    assert one.extras["source_labels"](torch.tensor([0, 2])).tolist() == [2, 0]
    with pytest.raises(ValueError, match="share none: up, down"):
        heads("one", ("up", "down"))
