"""What networks reached that were trained only to be measured: oracles, a sweep over the depth, others. No torch."""

import re

from graft.data.label_budget import Labels, by_size
from tasks.results.metrics_file import CompanionScore, Summary
from tasks.trials.plan import ORACLE

_DEPTH = re.compile(r"depth (\d+)\b")


def oracles(summary: Summary) -> dict[str, CompanionScore]:
    """By strategy, the lead metric that it would have had if labels had chosen its weights."""
    found = {name: budgets.get(0, {}).get(ORACLE) for name, budgets in summary.companions.items()}
    return {name: score for name, score in found.items() if score is not None}


def swept(summary: Summary) -> str | None:
    """The strategy that was also trained with every number of transferred stages, if there is one."""
    return next((name for name in sorted(summary.companions) if depth_sweep(summary, name)), None)


def depth_sweep(summary: Summary, strategy: str) -> dict[Labels, dict[int, CompanionScore]]:
    """By labels per class and number of transferred stages, both ascending: the lead metric of a sweep over the
    depth."""
    found: dict[Labels, dict[int, CompanionScore]] = {}
    for labels, companions in summary.companions.get(strategy, {}).items():
        depths = {int(match[1]): companions[name] for name in companions if (match := _DEPTH.match(name))}
        if depths:
            found[labels] = dict(sorted(depths.items()))
    return {labels: found[labels] for labels in sorted(found, key=by_size)}


def other_companions(summary: Summary) -> dict[tuple[str, str], dict[Labels, CompanionScore]]:
    """By strategy and name, the lead metric by labels per class: companions that are neither oracle nor of a sweep."""
    found: dict[tuple[str, str], dict[Labels, CompanionScore]] = {}
    for strategy, budgets in summary.companions.items():
        for labels, companions in budgets.items():
            for name, score in companions.items():
                if name != ORACLE and not _DEPTH.match(name):
                    found.setdefault((strategy, name), {})[labels] = score
    return dict(sorted(found.items()))
