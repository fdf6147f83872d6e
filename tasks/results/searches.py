"""What the search of each trial tried, and what it settled on. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tasks.trials.on_disk import Trial

_OTHER = ("learning_rate", "objective")
"""Of an attempt; what is left is the strategy's main knob."""


@dataclass(frozen=True)
class Search:
    """A strategy's searches over its seeds."""

    strategy: str
    trainings: int
    """Of each seed, the same for every strategy; one that diverged counts."""
    rates: str
    """The learning rates that were chosen, seed by seed."""
    knob: str
    """The main knob and the values chosen for it; empty where there is none."""


def searches(trials: Sequence[Trial]) -> list[Search]:
    """Those of every strategy that was searched for, in the order of the trials."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.metrics["search"]:
            found.setdefault(trial.strategy, []).append(trial)
    return [_search(strategy, group) for strategy, group in found.items()]


def _search(strategy: str, trials: list[Trial]) -> Search:
    attempts = trials[0].metrics["search"]
    name = next((key for key in attempts[0] if key not in _OTHER), None)
    chosen = ", ".join(_value(trial.metrics["knobs"][name]) for trial in trials) if name else ""
    rates = ", ".join(_value(trial.metrics["learning_rate"]) for trial in trials)
    return Search(strategy, len(attempts), rates, f"{name}: {chosen}" if name else "")


def _value(value: Any) -> str:
    """Three digits and no exponent."""
    return f"{Decimal(f'{value:.3g}'):f}" if isinstance(value, float) else str(value)
