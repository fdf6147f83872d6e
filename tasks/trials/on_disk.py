"""Trials on disk: loading them and choosing the candidate. No torch here."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from graft.settings import Metric
from graft.training.selection import Evaluation
from tasks.common.errors import GraftError
from tasks.trials.choose import Contender, choose_strategy
from tasks.trials.curves import read_curve
from tasks.trials.out_of_fold import OUT_OF_FOLD, OutOfFold
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
    def answers(self) -> OutOfFold:
        """What its networks answer for paid images that they did not learn from.

        Raises:
            GraftError: the file cannot be read.
        """
        return OutOfFold.load(self.folder / OUT_OF_FOLD)

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

    Only labels that are paid for decide, out of fold, never the test split: `choose_strategy` chooses the strategy. Of
    its trials it is that of the first seed: they differ by luck alone, and to choose the luckiest would overfit.

    Raises:
        GraftError: the answers of a trial cannot be read.
    """
    trials = [trial for trial in trials if trial.entry.labels in (0, plan.budget)]
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.strategy, []).append(trial)
    contenders = [
        Contender(name, {trial.seed: trial.answers for trial in group}, _cost(group[0]), plan.listed.index(name))
        for name, group in groups.items()
    ]
    chosen = choose_strategy(contenders, metric)
    return next(trial for trial in groups[chosen] if trial.seed == plan.seeds[0])


def _cost(trial: Trial) -> tuple[float, ...]:
    """In use, then in training."""
    found = trial.metrics
    return found["multiply_adds"], found["selected_step"] * found["training"]["batch_size"], found["parameters"]


def _check_same_budget(trials: list[Trial], plan: Plan) -> None:
    problems = []
    for budget in plan.budgets:
        compared = [trial for trial in trials if trial.entry.labels in (0, budget)]
        first = next(trial for trial in compared if trial.entry.labels == budget)
        problems += [
            f"{trial.folder}: {key} is {trial.metrics.get(key)!r}, but {first.metrics.get(key)!r} in {first.name}"
            for key in ("training", "folds", "trained_folds")
            for trial in compared
            if trial.metrics.get(key) != first.metrics.get(key)
        ]
    if problems:
        raise GraftError(problems, "Only trials with equal budgets can be compared. Make them again with: dvc repro")
