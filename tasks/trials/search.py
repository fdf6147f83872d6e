"""A small search over the learning rate and a strategy's main knob, with the same number of attempts for each.

It is part of the trial: every seed searches with its own labels, so that the intervals include the variance of the
search (Bouthillier et al. 2021, 'Accounting for Variance in Machine Learning Benchmarks').
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from graft.contract import Strategy
from graft.settings import Searched, Training
from tasks.settings.tune import TuneSettings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

T = TypeVar("T")
Objective = float
"""Lower is better."""


@dataclass(frozen=True)
class Knob:
    """A strategy's main knob, and its search space: a range or choices."""

    name: str
    low: float | None
    high: float | None
    choices: tuple[Any, ...] = ()
    whole: bool = False
    """Whether it is an integer."""

    def distribution(self) -> "BaseDistribution":
        """The search space as optuna's distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        assert self.low is not None
        assert self.high is not None
        if self.whole:
            return IntDistribution(round(self.low), round(self.high), log=True)
        return FloatDistribution(self.low, self.high, log=True)


def main_knob(kind: type[Strategy]) -> Knob | None:
    """The knob that a strategy's file marks with `Searched`, if there is one."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        marks = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Searched)]
        if marks:
            plain = get_args(hint)[0] if get_origin(hint) is Annotated else hint
            choices = get_args(plain) if get_origin(plain) is Literal else (False, True) if plain is bool else ()
            return Knob(field.name, marks[0].low, marks[0].high, choices, whole=plain is int)
    return None


def search(
    strategy: Strategy,
    training: Training,
    settings: TuneSettings,
    seed: int,
    attempt: Callable[[Strategy, Training], tuple[Objective, T]],
) -> tuple[T, list[dict[str, Any]]]:
    """The best of `settings.trials` attempts, and a record of all of them.

    Args:
        seed: of the sampler (Bergstra et al. 2011's tree-structured Parzen estimator).
        attempt: trains once; returns the objective, lower being better, and the result.

    Raises:
        FloatingPointError: every attempt diverged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    knob = main_knob(type(strategy))
    low, high = (training.learning_rate * x for x in (settings.lowest_rate, settings.highest_rate))
    space: dict[str, BaseDistribution] = {}
    given: dict[str, Any] = {}
    if strategy.optimises:
        space["learning_rate"] = optuna.distributions.FloatDistribution(low, high, log=True)
        given["learning_rate"] = training.learning_rate
    if knob:
        space[knob.name], given[knob.name] = knob.distribution(), getattr(strategy, knob.name)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    best: tuple[Objective, T] | None = None
    record: list[dict[str, Any]] = []
    for number in range(settings.trials):
        trial = study.ask(space) if number else None
        tried = trial.params if trial else given  # the given settings may be outside the space
        print(f"search {number + 1}/{settings.trials}: {tried}", flush=True)
        try:
            objective, found = attempt(
                replace(strategy, **{knob.name: tried[knob.name]}) if knob else strategy,
                replace(training, learning_rate=tried.get("learning_rate", training.learning_rate)),
            )
        except FloatingPointError:
            record.append({**tried, "objective": None})
            if trial:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        record.append({**tried, "objective": objective})
        if trial:
            study.tell(trial, objective)
        else:
            with suppress(ValueError):  # outside the space, so the sampler cannot learn from it
                study.add_trial(optuna.trial.create_trial(params=given, distributions=space, value=objective))
        if best is None or objective < best[0]:
            best = (objective, found)
    if best is None:
        raise FloatingPointError(f"all {settings.trials} attempts of the search diverged; lower the learning rate")
    return best[1], record
