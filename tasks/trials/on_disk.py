"""Trials on disk: loading them and choosing the candidate. No torch here."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from graft.settings import Metric
from graft.training.selection import Evaluation
from tasks.common.errors import GraftError
from tasks.trials.curves import read_curve
from tasks.trials.plan import Entry, Plan

SeedMetric = Literal["accuracy", "balanced_accuracy", "macro_f1", "nll", "calibration_error"]

SEED_METRICS: tuple[SeedMetric, ...] = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "calibration_error")
"""What reports/metrics.json gives for each seed."""


@dataclass(frozen=True)
class Trial:
    """One entry of the plan, as its stage left it in `folder`."""

    entry: Entry
    folder: Path
    metrics: dict[str, Any]
    curve: list[Evaluation]

    @property
    def name(self) -> str:
        """The trial's name."""
        return self.entry.name

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return self.entry.strategy

    @property
    def seed(self) -> int:
        """Seed of the drawn labels, their order and the augmentation."""
        return self.entry.seed

    @property
    def companions(self) -> dict[str, Path]:
        """Folders of the networks that were trained alongside it for comparison, by name."""
        return {name: self.folder / "companions" / name for name in self.metrics["companions"]}


def load_trials(folder: Path, plan: Plan) -> list[Trial]:
    """All trials of the plan, in its order.

    Raises:
        GraftError: trials are missing or damaged (lists all of them), or did not have the same budget.
    """
    trials: list[Trial] = []
    problems: list[str] = []
    for entry in plan.entries():
        path = folder / entry.name
        try:
            metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
            trials.append(Trial(entry, path, metrics, read_curve(path / "curve.csv")))
        except FileNotFoundError as error:
            problems.append(f"{path}: {Path(error.filename).name} is missing; make it with: {entry.command}")
        except (OSError, ValueError, KeyError) as error:
            problems.append(f"{path}: cannot be read: {error!r}; make it with: {entry.command}")
    if problems:
        raise GraftError(problems, "Or make all missing trials at once with: dvc repro")
    _check_same_budget(trials, plan)
    return trials


def choose_candidate(trials: list[Trial], plan: Plan, metric: Metric) -> Trial:
    """The trial that a user would ship, from those at the largest budget and those that need no labels.

    Only validation decides, never the test split.

    First the strategy: best mean over its seeds of `metric` on validation, then lower mean validation loss, then name.
    Then its seed: best on validation, then lower validation loss, then the lowest seed.
    """

    def validation(trial: Trial) -> tuple[float, float]:
        found = trial.metrics["validation"]
        return -found[metric], found["nll"]

    trials = [trial for trial in trials if trial.entry.labels in (0, plan.budget)]

    def rank(strategy: str) -> tuple[float, float, str]:
        pairs = [validation(trial) for trial in trials if trial.strategy == strategy]
        return fmean(pair[0] for pair in pairs), fmean(pair[1] for pair in pairs), strategy

    best = min({trial.strategy for trial in trials}, key=rank)
    return min((trial for trial in trials if trial.strategy == best), key=lambda t: (*validation(t), t.seed))


def _check_same_budget(trials: list[Trial], plan: Plan) -> None:
    problems = []
    for budget in plan.budgets:
        compared = [trial for trial in trials if trial.entry.labels in (0, budget)]
        keys = ("training", "validation_per_class") if budget == plan.budget else ("training",)
        first = next(trial for trial in compared if trial.entry.labels == budget)
        # With `all`, groups can leave one seed more for validation than another.
        of_seed = {trial.seed: trial for trial in reversed(compared) if trial.entry.labels == budget}
        others = {
            "training": [first] * len(compared),
            "validation_per_class": [of_seed[trial.seed] for trial in compared],
        }
        problems += [
            f"{trial.folder}: {key} is {trial.metrics.get(key)!r}, but {other.metrics.get(key)!r} in {other.name}"
            for key in keys
            for trial, other in zip(compared, others[key], strict=True)
            if trial.metrics.get(key) != other.metrics.get(key)
        ]
    if problems:
        raise GraftError(problems, "Only trials with equal budgets can be compared. Make them again with: dvc repro")
