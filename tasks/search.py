"""A small search over the learning rate and a strategy's main knob, with the same number of trials for each.

It belongs to the trial: every seed searches with its own labels, so that the intervals hold the search's luck too
(Bouthillier et al. 2021, 'Accounting for Variance in Machine Learning Benchmarks').
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from graft.settings import Searched, Training
from graft.strategies.base import Strategy
from tasks.settings.tune import TuneSettings

if TYPE_CHECKING:
    from optuna.trial import Trial

T = TypeVar("T")
Objective = float
"""Lower is better."""


@dataclass(frozen=True)
class Knob:
    """A strategy's main knob, and where to look for it: a range or choices."""

    name: str
    low: float | None
    high: float | None
    choices: tuple[Any, ...] = ()
    whole: bool = False
    """Whether it counts something."""

    def suggest(self, trial: "Trial") -> Any:
        """A value for this trial."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        assert self.low is not None
        assert self.high is not None
        if self.whole:
            return trial.suggest_int(self.name, round(self.low), round(self.high), log=True)
        return trial.suggest_float(self.name, self.low, self.high, log=True)


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
        attempt: trains once and says how good it is.

    Raises:
        FloatingPointError: every attempt diverged.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    knob = main_knob(type(strategy))
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    given = {"learning_rate": training.learning_rate}
    study.enqueue_trial(given | ({knob.name: getattr(strategy, knob.name)} if knob else {}))
    best: tuple[Objective, T] | None = None
    record: list[dict[str, Any]] = []
    low, high = (training.learning_rate * x for x in (settings.lowest_rate, settings.highest_rate))
    for number in range(settings.trials):
        trial = study.ask()
        rate = trial.suggest_float("learning_rate", low, high, log=True)
        tried = replace(strategy, **{knob.name: knob.suggest(trial)}) if knob else strategy
        print(f"search {number + 1}/{settings.trials}: {trial.params}", flush=True)
        try:
            objective, found = attempt(tried, replace(training, learning_rate=rate))
        except FloatingPointError:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            record.append({**trial.params, "objective": None})
            continue
        study.tell(trial, objective)
        record.append({**trial.params, "objective": objective})
        if best is None or objective < best[0]:
            best = (objective, found)
    if best is None:
        raise FloatingPointError(f"all {settings.trials} attempts of the search diverged: lower the learning rate")
    return best[1], record
