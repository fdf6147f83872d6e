"""Results made up for what is said and drawn of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from graft.data.label_budget import Labels
from graft.measures.findings import Interval
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

SEEDS = (0, 1, 2)


def score(mean: float, half: float | None = 0.02, seeds: Sequence[float] | None = None) -> SeedScore:
    """A score with `half` an interval to either side; None for no interval."""
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return SeedScore(mean, low, high, tuple(seeds or (mean - 0.01, mean, mean + 0.01)))


def companion(mean: float, **more: Any) -> CompanionScore:
    """The score of a network that was trained to be measured only."""
    return CompanionScore(mean, mean - 0.02, mean + 0.02, (mean - 0.01, mean, mean + 0.01), **more)


def row(
    mean: float,
    verdict: str = "positive",
    *,
    labels: Labels = 10,
    gain: tuple[float, float | None, float | None] | None = None,
    **changes: Any,
) -> StrategyRow:
    """A row whose scores are all `mean`; without a `gain` over a scratch of 0.9."""
    found = score(mean)
    made = StrategyRow(
        labels_per_class=labels,
        accuracy=found,
        balanced_accuracy=found,
        macro_f1=found,
        nll=score(0.2),
        calibration_error=score(0.1),
        per_class_recall={"a": mean, "b": mean},
        validation=mean,
        folds=5 if labels else 0,
        gain_over_scratch=Interval(*(gain or (mean - 0.9, -0.01, 0.01))),
        gain_over_source_only=None,
        verdict=verdict,  # type: ignore[arg-type]
        holds_among_all=True,
        verdict_over_source_only=None,
        rank=RankRange(1, 3),
        better_than=(),
    )
    return replace(made, **changes)


def summary(
    strategies: Mapping[str, StrategyRow],
    *,
    chosen: str = "fine_tune",
    smaller: Mapping[Labels, Mapping[str, StrategyRow]] | None = None,
    **changes: Any,
) -> Summary:
    """A result with 10 labels per class, three seeds and two classes."""
    made = Summary(
        metric=LeadMetric("accuracy", "auto", 59, 62),
        candidate=ChosenTrial(f"{chosen}-10-1", chosen, 10, 1, "accuracy out of fold", 0.95),
        test=EvaluatedOn(600, "images", ("a", "b")),
        budget=PaidLabels(10, 40, 5, SEEDS),
        strategies=dict(strategies),
        source=SourceNetwork("convnet_tiny", 0.7, 5000, 100_000),
        smaller_budgets=dict(smaller or {}),
    )
    return replace(made, **changes)


def choosing(result: Summary, strategy: str) -> Summary:
    """The same with another candidate."""
    return replace(result, candidate=replace(result.candidate, strategy=strategy, trial=f"{strategy}-10-1"))
