"""The content of `reports/metrics.json`: every strategy's scores, gains and verdict. No files here.

Legend: M strategies compared at a label budget, S seeds, N test images.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import torch
from torch import Tensor

from graft.data.label_budget import Labels
from graft.data.split import Split
from graft.measures.comparison import gains_over, p_values_over, pairwise_p_values, rank_ranges, seed_interval
from graft.measures.findings import Interval, Verdict, verdict
from graft.measures.lead_metric import ScoredPredictions
from graft.measures.metrics import Scores
from graft.settings import Metric
from tasks.results.metrics_file import (
    ChosenTrial,
    CompanionScore,
    EvaluatedOn,
    LeadMetric,
    PaidLabels,
    RankRange,
    SeedScore,
    SourceNetwork,
    StrategyRow,
    Summary,
)
from tasks.results.words import metric_in_words
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
    plan: Plan,
    measured: list[Measured],
    candidate: Trial,
    test: Split,
    metric: Metric,
    settings: EvaluateSettings,
    source: SourceNetwork,
) -> Summary:
    """All of `reports/metrics.json` but the score of the forecast; `metric` leads."""
    by_entry = {found.trial.entry: found for found in measured}
    rows = {budget: _rows(plan, budget, by_entry, test, metric, settings) for budget in plan.budgets}
    counts = torch.bincount(test.labels, minlength=len(test.classes))
    return Summary(
        metric=LeadMetric(metric, settings.metric, int(counts.min()), int(counts.max())),
        candidate=ChosenTrial(
            trial=candidate.name,
            strategy=candidate.strategy,
            labels_per_class=candidate.entry.labels,
            seed=candidate.seed,
            chosen_by=f"{metric_in_words(metric)} out of fold",
            validation=_mean([candidate.metrics["validation"][metric]]),
        ),
        test=EvaluatedOn(len(test), "texts" if test.vocabulary else "images", tuple(test.classes)),
        budget=PaidLabels(
            labels_per_class=plan.budget,
            n_paid=by_entry[Entry(BASELINE, plan.budget, plan.seeds[0])].trial.metrics["n_train"],
            folds=candidate.metrics["folds"],
            seeds=tuple(plan.seeds),
        ),
        strategies=rows[plan.budget],
        source=source,
        smaller_budgets={budget: rows[budget] for budget in plan.budgets[:-1]},
        companions=_companions(measured, test, metric, settings),
    )


def _rows(
    plan: Plan,
    budget: Labels,
    by_entry: Mapping[Entry, Measured],
    test: Split,
    metric: Metric,
    settings: EvaluateSettings,
) -> dict[str, StrategyRow]:
    """A row for each strategy that is compared at a label budget."""
    compared = plan.compared(budget)
    names = [name for name, _ in compared]
    groups = [[by_entry[Entry(name, labels, seed)] for seed in plan.seeds] for name, labels in compared]
    predictions = torch.stack([torch.stack([found.predictions for found in group]) for group in groups])
    answers = ScoredPredictions(predictions, test.labels, len(test.classes), metric)
    contributions = answers.contributions()
    over_scratch = _gains(names, answers, BASELINE, settings)
    over_source_only = _gains(names, answers, CONTROL, settings) if CONTROL in names else {}
    p_values = p_values_over(contributions, names.index(BASELINE))
    means, of_pairs = contributions.mean(dim=(1, 2)).tolist(), pairwise_p_values(contributions)
    ranks = rank_ranges(means, of_pairs, settings.confidence)
    rows = {}
    for i, ((name, labels), group, p_value) in enumerate(zip(compared, groups, p_values, strict=True)):
        gain, found = over_scratch[name], verdict(over_scratch[name])
        scores = [found.scores for found in group]
        rows[name] = StrategyRow(
            labels_per_class=labels,
            **{name: _over_seeds([getattr(each, name) for each in scores], settings) for name in SEED_METRICS},
            per_class_recall={
                label: _mean(each.per_class_recall[k] for each in scores) for k, label in enumerate(test.classes)
            },
            validation=_mean(f.trial.metrics["validation"][metric] for f in group),
            folds=group[0].trial.metrics["folds_run"],
            gain_over_scratch=gain,
            gain_over_source_only=over_source_only.get(name),
            verdict="baseline" if name == BASELINE else found,
            holds_among_all=found != "no evidence" and p_value < 1 - settings.confidence,
            verdict_over_source_only=_over(CONTROL, name, over_source_only),
            rank=RankRange(*ranks[i]),
            better_than=tuple(
                other
                for j, other in enumerate(names)
                if means[j] < means[i] and of_pairs[i, j] < 1 - settings.confidence
            ),
        )
    return rows


def _over(baseline: str, name: str, gains: Mapping[str, Interval]) -> Verdict | Literal["baseline"] | None:
    """The verdict about a strategy's gain over `baseline`; None where that was not asked for."""
    if baseline not in gains:
        return None
    return "baseline" if name == baseline else verdict(gains[name])


def _gains(
    names: list[str], answers: ScoredPredictions, baseline: str, settings: EvaluateSettings
) -> dict[str, Interval]:
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


def _companions(
    measured: list[Measured], test: Split, metric: Metric, settings: EvaluateSettings
) -> dict[str, dict[Labels, dict[str, CompanionScore]]]:
    """By strategy, label budget and name: the lead metric of networks that were only trained to be measured, and the
    strategy's gain over them; not over an oracle, which knows labels that the strategy must not know."""
    groups: dict[tuple[str, Labels], list[Measured]] = {}
    for one in measured:
        groups.setdefault((one.trial.strategy, one.trial.entry.labels), []).append(one)
    found: dict[str, dict[Labels, dict[str, CompanionScore]]] = {}
    for (strategy, labels), group in groups.items():
        for name in group[0].companions:
            companions = [one.companions[name] for one in group]
            score = _over_seeds([getattr(one.scores, metric) for one in companions], settings)
            gain = None
            if name != ORACLE:
                pair = torch.stack([torch.stack([one.predictions for one in of]) for of in (group, companions)])
                answers = ScoredPredictions(pair, test.labels, len(test.classes), metric)
                gain = _gains([strategy, name], answers, name, settings)[strategy]
            row = CompanionScore(score.mean, score.low, score.high, score.seeds, gain, verdict(gain) if gain else None)
            found.setdefault(strategy, {}).setdefault(labels, {})[name] = row
    return found


def _over_seeds(values: list[float], settings: EvaluateSettings) -> SeedScore:
    interval = seed_interval(values, settings.confidence).rounded(DIGITS)
    return SeedScore(interval.mean, interval.low, interval.high, tuple(round(value, DIGITS) for value in values))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), DIGITS) if known else None
