"""The content of `reports/metrics.json`: every strategy's scores, gains and verdict. No files here.

Legend: M strategies compared at a label budget, S seeds, N test images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from graft.data.label_budget import Labels
from graft.data.split import Split
from graft.measures.comparison import (
    Interval,
    gains_over,
    p_values_over,
    pairwise_p_values,
    rank_ranges,
    seed_interval,
    verdict,
)
from graft.measures.lead_metric import Answers
from graft.measures.metrics import Scores
from graft.settings import Metric
from tasks.results.read import metric_in_words
from tasks.settings.evaluate import EvaluateSettings
from tasks.trials.on_disk import SEED_METRICS, Trial
from tasks.trials.plan import BASELINE, ORACLE, Entry, Plan

DIGITS = 4
CONTROL = "source_only"


@dataclass(frozen=True)
class Said:
    """What a network says of the test split."""

    scores: Scores
    predictions: Tensor
    """(N,), the class that it names for each image."""


@dataclass(frozen=True)
class Measured(Said):
    """A trial on the test split."""

    trial: Trial
    companions: Mapping[str, Said]
    """The networks that were trained next to it only to be measured."""


def summarise(
    plan: Plan, measured: list[Measured], candidate: Trial, test: Split, metric: Metric, settings: EvaluateSettings
) -> dict[str, Any]:
    """All of `reports/metrics.json`; `metric` leads."""
    by_entry = {found.trial.entry: found for found in measured}
    rows = {budget: _rows(plan, budget, by_entry, test, metric, settings) for budget in plan.budgets}
    counts = torch.bincount(test.labels, minlength=len(test.classes))
    return {
        "metric": {
            "name": metric,
            "asked": settings.metric,
            "fewest_of_a_class": int(counts.min()),
            "most_of_a_class": int(counts.max()),
        },
        "candidate": {
            "trial": candidate.name,
            "strategy": candidate.strategy,
            "labels_per_class": candidate.entry.labels,
            "seed": candidate.seed,
            "chosen_by": f"mean validation {metric_in_words(metric)}",
            f"validation_{metric}": round(candidate.metrics["validation"][metric], DIGITS),
        },
        "test": {"n": len(test), "kind": "texts" if test.vocabulary else "images", "classes": list(test.classes)},
        "budget": {
            "labels_per_class": plan.budget,
            "validation_per_class": candidate.metrics["validation_per_class"],
            "n_train": _mean_count(plan, by_entry, "n_train"),
            "n_validation": _mean_count(plan, by_entry, "n_validation"),
            "seeds": list(plan.seeds),
        },
        "strategies": rows[plan.budget],
        "smaller_budgets": {str(budget): rows[budget] for budget in plan.budgets[:-1]},
        "companions": _companions(measured, test, metric, settings),
    }


def _mean_count(plan: Plan, by_entry: Mapping[Entry, Measured], name: str) -> int:
    """Images of the largest budget, mean over seeds: with `all`, groups can leave a seed more than another."""
    trials = [by_entry[Entry(BASELINE, plan.budget, seed)].trial for seed in plan.seeds]
    return round(fmean(trial.metrics[name] for trial in trials))


def _rows(
    plan: Plan,
    budget: Labels,
    by_entry: Mapping[Entry, Measured],
    test: Split,
    metric: Metric,
    settings: EvaluateSettings,
) -> dict[str, Any]:
    """A row for each strategy that is compared at a label budget."""
    compared = plan.compared(budget)
    names = [name for name, _ in compared]
    groups = [[by_entry[Entry(name, labels, seed)] for seed in plan.seeds] for name, labels in compared]
    predictions = torch.stack([torch.stack([found.predictions for found in group]) for group in groups])
    answers = Answers(predictions, test.labels, len(test.classes), metric)
    contributions = answers.contributions()
    over_scratch = _gains(names, answers, BASELINE, settings)
    over_source_only = _gains(names, answers, CONTROL, settings) if CONTROL in names else {}
    p_values = p_values_over(contributions, names.index(BASELINE))
    means, of_pairs = contributions.mean(dim=(1, 2)).tolist(), pairwise_p_values(contributions)
    ranks = rank_ranges(means, of_pairs, settings.confidence)
    rows = {}
    for i, ((name, labels), group, p_value) in enumerate(zip(compared, groups, p_values, strict=True)):
        best, worst = ranks[i]
        gain, found = over_scratch[name], verdict(over_scratch[name])
        scores = [found.scores for found in group]
        rows[name] = {
            "labels_per_class": labels,
            **{metric: _over_seeds([getattr(found, metric) for found in scores], settings) for metric in SEED_METRICS},
            "per_class_recall": {
                label: _mean(found.per_class_recall[k] for found in scores) for k, label in enumerate(test.classes)
            },
            f"validation_{metric}": round(fmean(f.trial.metrics["validation"][metric] for f in group), DIGITS),
            "gain_over_scratch": _plain(gain),
            "gain_over_source_only": _plain(over_source_only[name]) if over_source_only else None,
            "verdict": "baseline" if name == BASELINE else found,
            "holds_among_all": found != "no evidence" and p_value < 1 - settings.confidence,
            "verdict_over_source_only": _over(CONTROL, name, over_source_only),
            "rank": {"best": best, "worst": worst},
            "better_than": [
                other
                for j, other in enumerate(names)
                if means[j] < means[i] and of_pairs[i, j] < 1 - settings.confidence
            ],
        }
    return rows


def _over(baseline: str, name: str, gains: Mapping[str, Interval]) -> str | None:
    """The verdict about a strategy's gain over `baseline`; None where that was not asked for."""
    if baseline not in gains:
        return None
    return "baseline" if name == baseline else verdict(gains[name])


def _gains(names: list[str], answers: Answers, baseline: str, settings: EvaluateSettings) -> dict[str, Interval]:
    """Each strategy's gain over `baseline`, already rounded: the verdict has to follow from the printed numbers."""
    gains = gains_over(
        answers.contributions(),
        names.index(baseline),
        confidence=settings.confidence,
        resamples=settings.resamples,
        seed=settings.seed,
        resampled=answers.resampled,
    )
    return {name: gain.rounded(DIGITS) for name, gain in zip(names, gains, strict=True)}


def _companions(measured: list[Measured], test: Split, metric: Metric, settings: EvaluateSettings) -> dict[str, Any]:
    """By strategy, label budget and name: the lead metric of networks that were only trained to be measured, and the
    strategy's gain over them; not over an oracle, which knows labels that the strategy must not."""
    groups: dict[tuple[str, Labels], list[Measured]] = {}
    for one in measured:
        groups.setdefault((one.trial.strategy, one.trial.entry.labels), []).append(one)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (strategy, labels), group in groups.items():
        for name in group[0].companions:
            beside = [one.companions[name] for one in group]
            row = _over_seeds([getattr(one.scores, metric) for one in beside], settings)
            if name != ORACLE:
                pair = torch.stack([torch.stack([one.predictions for one in of]) for of in (group, beside)])
                gain = _gains([strategy, name], Answers(pair, test.labels, len(test.classes), metric), name, settings)
                row |= {"gain_over_it": _plain(gain[strategy]), "verdict_over_it": verdict(gain[strategy])}
            found.setdefault(strategy, {}).setdefault(str(labels), {})[name] = row
    return found


def _over_seeds(values: list[float], settings: EvaluateSettings) -> dict[str, Any]:
    interval = seed_interval(values, settings.confidence).rounded(DIGITS)
    return {**_plain(interval), "seeds": [round(value, DIGITS) for value in values]}


def _plain(interval: Interval) -> dict[str, float | None]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), DIGITS) if known else None
