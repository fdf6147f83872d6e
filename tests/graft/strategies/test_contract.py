"""The contract of every strategy; new files in graft/strategies/ are found and tested without changes here."""

import copy
import inspect
import re
from dataclasses import fields, is_dataclass, replace

import pytest
import torch

from graft.contract import Strategy
from graft.data.split import Domains, Split
from graft.loop import train
from graft.networks.network import Network
from graft.settings import Training
from graft.strategies import strategy_class, strategy_names
from graft.strategies.fine_tune import FineTune
from graft.strategies.linear_probe import LinearProbe
from graft.strategies.mixed_training import MixedTraining
from graft.strategies.scratch import Scratch
from graft.strategies.source_only import SourceOnly
from tests.graft.pictures import CLASSES, FOR_PICTURES, bars, tiny_network

BRIEF = Training(steps=8, batch_size=9, learning_rate=0.01, evaluations=2)
OTHER_CLASSES = ("middle", "left", "elsewhere", "right")

every_strategy = pytest.mark.parametrize("name", FOR_PICTURES)
"""Those that serve texts alone keep the same contract with texts: test_tfidf.py."""


def pretrain() -> Network:
    network = tiny_network(seed=3)
    train(
        network, Scratch(), Domains(bars(90), bars(30, seed=1)), Training(steps=40, batch_size=16, learning_rate=0.02)
    )
    return network


pretrained = pytest.fixture(scope="module", name="pretrained")(pretrain)


def adapted(strategy: Strategy, source: Network, classes: tuple[str, ...] = CLASSES) -> Network:
    torch.manual_seed(0)
    return strategy.adapt(copy.deepcopy(source), classes)


def run(strategy: Strategy, source: Network, classes: tuple[str, ...] = CLASSES) -> Network:
    network = adapted(strategy, source, classes)
    target = bars(36, seed=7, classes=classes, size=8)
    train(network, strategy, Domains(target, target, bars(30), target), BRIEF, seed=1)
    return strategy.finish(network)


@pytest.mark.parametrize("name", strategy_names())
def test_a_strategy_is_a_documented_frozen_dataclass_with_typed_defaults(name: str) -> None:
    kind = strategy_class(name)
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert kind.__doc__ is not None
    assert "fails" in kind.__doc__, "the docstring says when the strategy fails"
    assert re.search(r"\b(19|20)\d\d\b", kind.__doc__), "it names the paper with its year"
    kind()  # every knob has a default
    source = "".join(inspect.getsource(each) for each in kind.__mro__ if is_dataclass(each))
    for knob in fields(kind):
        assert f"    {knob.name}: " in source
        assert source.split(f"    {knob.name}: ", 1)[1].split("\n", 1)[1].lstrip().startswith('"""'), knob.name


@every_strategy
def test_a_finished_network_is_rebuilt_from_its_description_and_weights(name: str, pretrained: Network) -> None:
    network = run(strategy_class(name)(), pretrained)
    rebuilt = Network(network.description)
    rebuilt.load_state_dict(network.state_dict())
    images = bars(12, seed=9).images
    torch.testing.assert_close(rebuilt.eval()(images), network.eval()(images))


@every_strategy
def test_a_network_that_was_adapted_does_not_keep_the_sources_temperature(name: str, pretrained: Network) -> None:
    source = copy.deepcopy(pretrained)
    source.description = replace(source.description, temperature=2.0)
    assert adapted(strategy_class(name)(), source).description.temperature is None


@every_strategy
def test_a_strategy_is_deterministic_bit_for_bit(name: str, pretrained: Network) -> None:
    first, again = run(strategy_class(name)(), pretrained), run(strategy_class(name)(), pretrained)
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@every_strategy
def test_other_target_classes_work_or_are_refused_with_the_reason(name: str, pretrained: Network) -> None:
    try:
        network = run(strategy_class(name)(), pretrained, OTHER_CLASSES)
    except ValueError as error:
        assert "elsewhere" in str(error), "the reason names the class that is in the way"
    else:
        assert network.description.classes == OTHER_CLASSES
        assert network.eval()(bars(4).images).shape == (4, len(OTHER_CLASSES))


@every_strategy
def test_weights_without_a_head_work_or_are_refused_with_the_reason(name: str) -> None:
    strategy = strategy_class(name)(**({"images": "labelled"} if name == "distill" else {}))
    if strategy.uses_source_data and not strategy.source_is_optional:
        pytest.skip("it needs source data, with which weights learn a head first")
    try:
        network = run(strategy, tiny_network(classes=()))
    except ValueError as error:
        assert re.search(r"weights have no head|lacks these target classes", str(error))
    else:
        assert network.description.classes == CLASSES
        assert network.eval()(bars(4).images).isfinite().all()


def test_a_teacher_without_a_head_has_to_give_hints() -> None:
    with pytest.raises(ValueError, match=r"distill has nothing to teach"):
        adapted(strategy_class("distill")(hint=0.0), tiny_network(classes=()))


@every_strategy
def test_colour_pictures_of_another_size_work_like_grey_ones(name: str) -> None:
    def colour(split: Split) -> Split:
        return Split(torch.cat([split.images, 255 - split.images, split.images // 2], dim=1), split.labels, CLASSES)

    strategy = strategy_class(name)()
    network = adapted(strategy, tiny_network(channels=3, size=12))
    target = colour(bars(36, seed=7, size=12))
    train(network, strategy, Domains(target, target, colour(bars(30, size=12)), target), BRIEF, seed=1)
    network = strategy.finish(network)
    assert (network.description.channels, network.description.image_size) == (3, 12)
    assert network.eval()(target.images).isfinite().all()


@every_strategy
def test_a_batch_loss_is_a_finite_scalar_that_reaches_what_is_optimised(name: str, pretrained: Network) -> None:
    strategy = strategy_class(name)()
    if not strategy.optimises:
        pytest.skip("a control that is not trained")
    network = adapted(strategy, pretrained)
    train(network, strategy, Domains(*[bars(9)] * 4), Training(steps=2, batch_size=9, evaluations=1))
    parameters = [p for group in strategy.parameter_groups(network) for p in group.parameters]
    assert parameters
    assert all(p.requires_grad for p in parameters)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)


def test_scratch_keeps_nothing_of_the_source_but_its_description(pretrained: Network) -> None:
    other = tiny_network(seed=99)
    first, second = adapted(Scratch(), pretrained), adapted(Scratch(), other)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_source_only_finds_the_target_classes_by_name(pretrained: Network) -> None:
    shuffled = ("right", "left")
    network = adapted(SourceOnly(), pretrained, shuffled)
    images = bars(12, seed=5).images
    expected = pretrained.eval()(images)[:, [CLASSES.index(name) for name in shuffled]]
    torch.testing.assert_close(network.eval()(images), expected)


def test_linear_probe_leaves_the_body_as_it_was_batch_norm_included(pretrained: Network) -> None:
    network = run(LinearProbe(), pretrained)
    for name, value in pretrained.backbone.state_dict().items():
        assert torch.equal(value, network.backbone.state_dict()[name]), name
    assert not torch.equal(network.head.weight, pretrained.head.weight)


def test_fine_tune_moves_the_body_slower_at_a_lower_rate(pretrained: Network) -> None:
    def distance(rate: float) -> float:
        moved = run(FineTune(backbone_rate=rate), pretrained)
        pairs = zip(moved.backbone.parameters(), pretrained.backbone.parameters(), strict=True)
        return sum((a - b).detach().norm().item() for a, b in pairs)

    assert 0 < distance(0.01) < distance(1.0) / 10


def test_fine_tune_with_a_matched_head_starts_at_the_sources_predictions(pretrained: Network) -> None:
    network = adapted(FineTune(head="matched"), pretrained)
    images = bars(12, seed=5).images
    torch.testing.assert_close(network.eval()(images), pretrained.eval()(images))


def test_mixed_training_weighs_the_source_as_its_schedule_says(pretrained: Network) -> None:
    from graft.contract import Batch, Step

    def batch(seed: int) -> Batch:
        split = bars(12, seed=seed)
        return Batch(split.images.float() / 255, split.labels)

    network, source, target = adapted(MixedTraining(), pretrained).eval(), batch(1), batch(2)
    strategy = MixedTraining(source_share=0.6, final_source_share=0.2)
    with torch.no_grad():
        of_target = target.cross_entropy(network(target.images))
        of_source = source.cross_entropy(network(source.images))
        for progress, share in ((0.0, 0.6), (0.5, 0.4), (1.0, 0.2)):
            expected = (1 - share) * of_target + share * of_source
            torch.testing.assert_close(strategy.loss(network, Step(target, progress, source)), expected)


def test_mixed_training_has_two_heads_while_classes_differ(pretrained: Network) -> None:
    network = adapted(MixedTraining(), pretrained, OTHER_CLASSES)
    assert network.extras["source_head"].out_features == len(CLASSES)
    assert not MixedTraining().finish(network).extras


def test_an_unknown_strategy_names_the_valid_ones_and_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown strategy 'finetune'; did you mean 'fine_tune'\? valid: .*scratch"):
        strategy_class("finetune")


def test_a_refusal_names_a_few_of_a_thousand_source_classes() -> None:
    source = tiny_network(classes=tuple(f"class {index}" for index in range(1000)))
    message = r"lacks these target classes: left \(the source has: class 0, .*… and 988 more"
    with pytest.raises(ValueError, match=message) as said:
        SourceOnly().adapt(source, ("left", "class 5"))
    assert len(str(said.value)) < 300
