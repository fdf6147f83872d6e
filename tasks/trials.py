"""Trials on disk: which are asked for, sweeping the others away, loading, and the choice among them. No torch here."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from graft.selection import Evaluation
from tasks.curves import read_curve
from tasks.errors import GraftError
from tasks.parameters import load_yaml, parse

BASELINE = "scratch"
"""The strategy that every gain is counted from."""

SEED_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "calibration_error")
"""What reports/metrics.json gives for each seed."""

_BUDGET = ("labels_per_class", "validation_per_class", "training")
"""What every trial has to share, or the comparison would not be fair."""


@dataclass(frozen=True)
class Plan:
    """What `params.yaml` asks for: every strategy with every seed."""

    strategies: tuple[str, ...]
    seeds: tuple[int, ...]

    def names(self) -> list[str]:
        """`<strategy>-<seed>` of every trial, strategy by strategy."""
        return [f"{strategy}-{seed}" for strategy in self.strategies for seed in self.seeds]


@dataclass(frozen=True)
class Trial:
    """One strategy with one seed, as `finetune` left it in `folder`."""

    name: str
    strategy: str
    seed: int
    folder: Path
    metrics: dict[str, Any]
    curve: list[Evaluation]


def read_plan(params: Path) -> Plan:
    """Strategies (sorted) and seeds (as given) of `params.yaml`.

    Raises:
        GraftError: a section is missing or malformed, a seed is given twice, or the baseline is not asked for.
    """
    content = load_yaml(params)
    strategies = parse(content.get("strategies"), dict[str, Any], where=f"{params}: strategies")
    seeds = parse(content.get("seeds"), list[int], where=f"{params}: seeds")
    problems = []
    if BASELINE not in strategies:
        problems.append(
            f"{params}: strategies: {BASELINE!r} is missing: gains and verdicts are counted from it "
            f"(asked for: {', '.join(sorted(strategies)) or 'none'}); add `{BASELINE}: {{}}`"
        )
    if not seeds:
        problems.append(f"{params}: seeds: at least one seed is needed, three or more for intervals worth having")
    problems += [f"{params}: seeds: {seed} is given twice" for seed in sorted({s for s in seeds if seeds.count(s) > 1})]
    if problems:
        raise GraftError(problems)
    return Plan(tuple(sorted(strategies)), tuple(seeds))


def sweep(folder: Path, plan: Plan) -> list[str]:
    """Remove trials that are no longer asked for; their names. DVC's cache still has them."""
    names = set(plan.names())
    if not folder.is_dir():
        return []
    left_over = sorted(path for path in folder.glob("[!.]*") if path.is_dir() and path.name not in names)
    for path in left_over:
        shutil.rmtree(path)
    return [path.name for path in left_over]


def load_trials(folder: Path, plan: Plan) -> list[Trial]:
    """All trials of the plan, in its order.

    Raises:
        GraftError: trials are missing or torn (all of them are named), or did not have the same budget.
    """
    trials: list[Trial] = []
    problems: list[str] = []
    for strategy in plan.strategies:
        for seed in plan.seeds:
            path = folder / f"{strategy}-{seed}"
            try:
                metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
                trials.append(Trial(path.name, strategy, seed, path, metrics, read_curve(path / "curve.csv")))
            except FileNotFoundError as error:
                problems.append(f"{path}: {Path(error.filename).name} is missing; {_command(strategy, seed)}")
            except (OSError, ValueError, KeyError) as error:
                problems.append(f"{path}: cannot be read: {error!r}; {_command(strategy, seed)}")
    if problems:
        raise GraftError(problems, "Or make all that is missing at once: dvc repro")
    _check_same_budget(trials)
    return trials


def choose_candidate(trials: list[Trial]) -> Trial:
    """The trial that a user would ship. Validation alone decides; the test split never does.

    First the strategy: best mean validation accuracy over its seeds, then lower mean validation loss, then name. Then
    its seed: best validation accuracy, then lower validation loss, then the lowest seed.
    """

    def validation(trial: Trial) -> tuple[float, float]:
        found = trial.metrics["validation"]
        return -found["accuracy"], found["nll"]

    def rank(strategy: str) -> tuple[float, float, str]:
        pairs = [validation(trial) for trial in trials if trial.strategy == strategy]
        return fmean(pair[0] for pair in pairs), fmean(pair[1] for pair in pairs), strategy

    best = min({trial.strategy for trial in trials}, key=rank)
    return min((trial for trial in trials if trial.strategy == best), key=lambda t: (*validation(t), t.seed))


def _command(strategy: str, seed: int) -> str:
    return f"make it: python -m tasks.finetune --strategy {strategy} --seed {seed}"


def _check_same_budget(trials: list[Trial]) -> None:
    first = trials[0]
    problems = [
        f"{trial.folder}: {key} is {trial.metrics.get(key)!r}, but {first.metrics.get(key)!r} in {first.name}"
        for trial in trials
        for key in _BUDGET
        if trial.metrics.get(key) != first.metrics.get(key)
    ]
    if problems:
        raise GraftError(problems, "Trials are compared with equal budgets only. Make them anew: dvc repro")
