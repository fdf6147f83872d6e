"""Every knob of every strategy has an effect; new ones are found and tested without changes here."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types as at
import pytest
import torch
from torch import Tensor

from graft.contract import Strategy
from graft.data.split import Domains
from graft.loop import train
from graft.networks.network import Network
from graft.settings import Augmentation, Fraction, Training
from graft.strategies import strategy_class, strategy_names
from graft.strategies.scratch import Scratch
from tests.graft.pictures import bars, tiny_network

BRIEF = Training(
    steps=8, batch_size=9, learning_rate=0.01, evaluations=2, keep="last", augmentation=Augmentation(crop=1)
)

BESIDE: dict[str, dict[str, Any]] = {
    "adaptive_sampling.among": {"among": "all"},  # where the classes are the same, auto is class
    "bss.form": {"eta": 10.0},
    "l2_sp.over": {"alpha": 1.0},
    "layer_transfer.depth": {"depth": 1.0},  # of two stages; the default and lower values both give one
    "mixed_training.heads": {"heads": "two"},  # where the classes are the same, auto is one
    "mixed_training.alignment_weight": {"alignment": "mmd"},
    "mixed_training.align_on": {"alignment": "mmd"},
    "mixed_training.discriminator_rate": {"alignment": "dann"},
}
"""Settings without which a knob has no effect here."""

ELSEWHERE = {
    "linear_probe.related": "cross-validation prefers the plain probe here (see test_probe.py)",
    "cross_modal.mode": "source and target are of one modality here (see test_cross_modal.py)",
    "cross_modal.align_share": "source and target are of one modality here (see test_cross_modal.py)",
    "label_propagation.neighbours": "the classes lie far apart here (see test_label_propagation.py)",
    "label_propagation.alpha": "the classes lie far apart here (see test_label_propagation.py)",
    "self_training.source": "cross-validation prefers the target alone here (see test_self_training.py)",
    "self_training.shares": "the pool's classes are equally frequent here (see test_self_training.py)",
    "tfidf.use_source": "it serves texts alone (see test_tfidf.py)",
    "tfidf.length": "it serves texts alone (see test_tfidf.py)",
    "layer_transfer.kinds": "the tiny network's backbone has only convolutions (see test_layers.py)",
}
"""Knobs whose effect does not show on such a small problem."""

NAMES_OF_BODIES = ("convnet_small", "convnet_tiny")


@dataclass(frozen=True)
class Outcome:
    """The visible result of training a strategy."""

    logits: Tensor
    """Of the finished network, on unseen images."""
    scores: list[float | None]
    """Label-free scores of the evaluations."""
    companions: list[str]
    choices: list[str]
    """What the folds choose between."""

    def differs(self, other: "Outcome") -> bool:
        return (
            not torch.allclose(self.logits, other.logits, rtol=0, atol=1e-5)
            or self.scores != other.scores
            or self.companions != other.companions
            or self.choices != other.choices
        )


@cache
def pretrained() -> Network:
    network = tiny_network(seed=3)
    how = Training(steps=40, batch_size=16, learning_rate=0.02)
    train(network, Scratch(), Domains(bars(90), bars(30, seed=1)), how)
    return network


@cache
def outcome(strategy: Strategy) -> Outcome:
    """After a brief training on a target that is noisier than the source."""
    source = copy.deepcopy(pretrained())  # before seeding: the first call trains it
    torch.manual_seed(0)
    network = strategy.adapt(source, source.description.classes)
    pool = bars(60, seed=8, noise=120)
    target = bars(36, seed=7, noise=120) if strategy.uses_labels else pool
    fit = train(network, strategy, Domains(target, bars(18, seed=3), bars(120), pool), BRIEF, seed=1)
    logits = strategy.finish(network).eval()(bars(12, seed=9, noise=120).images).detach()
    return Outcome(
        logits,
        [point.label_free for point in fit.curve],
        list(strategy.companions(pretrained())),
        [kept.choice for kept in fit.answers],
    )


def other_values(kind: Any, value: Any) -> list[Any]:
    """All other choices, or another number within the bounds."""
    bounds: list[Any] = []
    if get_origin(kind) is Union:  # of a number and None
        kind, value = get_args(kind)[0], value or 1
    if get_origin(kind) is Annotated:
        kind, *bounds = get_args(kind)
    if get_origin(kind) is Literal:
        return [choice for choice in get_args(kind) if choice != value]
    if kind is bool:
        return [not value]
    if kind is str:
        return [next(name for name in NAMES_OF_BODIES if name != value)]
    moved = (kind(other) for other in (2 * value, value / 2, value + 1, value + 0.5))
    return [next(other for other in moved if other != value and within(other, bounds))]


def within(value: Any, bounds: list[Any]) -> bool:
    for bound in bounds:
        match bound:
            case at.Ge(least) if value < least:
                return False
            case at.Gt(least) if value <= least:
                return False
            case at.Le(most) if value > most:
                return False
            case at.Lt(most) if value >= most:
                return False
    return True


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (Literal["a", "b", "c"], "b", ["a", "c"]),
        (bool, True, [False]),
        (Annotated[int, at.Ge(1)], 1, [2]),
        (Annotated[float, at.Gt(0.0), at.Le(1.0)], 1.0, [0.5]),
        (Fraction, 0.0, [1.0]),
        (Annotated[float, at.Ge(0.0), at.Lt(1.0)], 0.0, [0.5]),
        (Annotated[float, at.Gt(0.0)] | None, None, [2.0]),
    ],
)
def test_other_values_are_within_the_bounds(kind: Any, value: Any, found: list[Any]) -> None:
    assert other_values(kind, value) == found


def knobs() -> Iterator[tuple[str, str]]:
    for name in strategy_names():
        for knob in fields(strategy_class(name)):
            yield name, knob.name


@pytest.mark.parametrize(("name", "knob"), knobs())
def test_a_knob_changes_what_comes_out(name: str, knob: str) -> None:
    place = f"{name}.{knob}"
    if place in ELSEWHERE:
        pytest.skip(ELSEWHERE[place])
    kind = strategy_class(name)
    usual = kind(**BESIDE.get(place, {}))
    hint = get_type_hints(kind, include_extras=True)[knob]
    for value in other_values(hint, getattr(usual, knob)):
        assert outcome(replace(usual, **{knob: value})).differs(outcome(usual)), f"{knob}={value!r} changes nothing"


def test_the_exceptions_are_of_knobs_that_there_are() -> None:
    assert BESIDE.keys() | ELSEWHERE.keys() <= {f"{name}.{knob}" for name, knob in knobs()}
