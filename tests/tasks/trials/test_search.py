"""The search of `tune`: equal for every strategy, led by validation, and never by labels that must not be known."""

from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

import pytest

from graft.contract import Strategy
from graft.settings import Searched, Training
from graft.strategies import strategy_class, strategy_names
from tasks.common.errors import GraftError
from tasks.settings.tune import TuneSettings
from tasks.settings.yaml_sections import parse
from tasks.trials.search import Knob, main_knob, search

TRAINING = Training(learning_rate=0.01)


@dataclass(frozen=True)
class Ranged(Strategy):
    other: float = 1.0
    strength: Annotated[float, Searched(0.01, 10.0)] = 0.1


@dataclass(frozen=True)
class Chosen(Strategy):
    kind: Annotated[Literal["a", "b"], Searched()] = "a"


@dataclass(frozen=True)
class Plain(Strategy):
    other: float = 1.0


def distance(strategy: Ranged, training: Training) -> tuple[float, tuple[float, float]]:
    """Best at strength 1 and rate 0.03."""
    found = (strategy.strength, training.learning_rate)
    return abs(found[0] - 1.0) + 10 * abs(found[1] - 0.03), found


def test_the_first_attempt_is_the_settings_as_given_and_all_are_recorded() -> None:
    found, record = search(Ranged(), TRAINING, TuneSettings(trials=1), 0, distance)  # type: ignore[arg-type]
    assert found == (0.1, 0.01)
    assert record == [{"learning_rate": 0.01, "strength": 0.1, "objective": pytest.approx(1.1)}]


def test_given_settings_may_lie_outside_of_what_is_searched() -> None:
    found, record = search(Ranged(strength=0.0), TRAINING, TuneSettings(trials=3), 0, distance)  # type: ignore[arg-type]
    assert record[0]["strength"] == 0.0
    assert all(0.01 <= entry["strength"] <= 10 for entry in record[1:])
    assert found in [(entry["strength"], entry["learning_rate"]) for entry in record]


def test_a_range_of_rates_that_is_none_is_refused() -> None:
    with pytest.raises(GraftError, match=r"tune: value error, lowest_rate \(2.0\) must be below highest_rate"):
        parse({"lowest_rate": 2.0, "highest_rate": 1.0}, TuneSettings, where="params.yaml: tune")


def test_more_attempts_find_better_settings_and_stay_in_their_ranges() -> None:
    found, record = search(Ranged(), TRAINING, TuneSettings(trials=25), 0, distance)  # type: ignore[arg-type]
    objectives = [entry["objective"] for entry in record]
    assert len(record) == 25
    assert min(objectives) == distance(Ranged(strength=found[0]), replace(TRAINING, learning_rate=found[1]))[0]
    assert min(objectives) < objectives[0] / 2
    assert all(0.001 <= entry["learning_rate"] <= 0.1 and 0.01 <= entry["strength"] <= 10 for entry in record)


def test_a_seed_fixes_the_search() -> None:
    def run(seed: int) -> list[dict[str, object]]:
        return search(Ranged(), TRAINING, TuneSettings(trials=5), seed, distance)[1]  # type: ignore[arg-type]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_an_attempt_that_diverges_is_recorded_and_passed_over() -> None:
    def attempt(strategy: Strategy, training: Training) -> tuple[float, float]:
        if training.learning_rate > 0.02:
            raise FloatingPointError
        return -training.learning_rate, training.learning_rate

    found, record = search(Plain(), TRAINING, TuneSettings(trials=8), 0, attempt)
    assert found <= 0.02
    assert None in [entry["objective"] for entry in record]
    with pytest.raises(FloatingPointError, match="all 3 attempts"):
        search(Plain(), replace(TRAINING, learning_rate=1.0), TuneSettings(trials=3), 0, attempt)


def test_the_main_knob_is_the_one_that_a_strategy_marks() -> None:
    assert main_knob(Ranged) == Knob("strength", 0.01, 10.0)
    assert main_knob(Chosen) == Knob("kind", None, None, ("a", "b"))
    assert main_knob(Plain) is None


@pytest.mark.parametrize("name", strategy_names())
def test_a_strategy_marks_at_most_one_knob_and_starts_within_its_range(name: str) -> None:
    kind = strategy_class(name)
    knob = main_knob(kind)
    marked = [field for field in fields(kind) if "Searched(" in str(field.type)]
    if knob is None:
        return
    assert len(marked) <= 1
    default = getattr(kind(), knob.name)
    if knob.choices:
        assert default in knob.choices
    else:
        assert knob.low is not None
        assert knob.high is not None
        assert 0 < knob.low <= default <= knob.high
