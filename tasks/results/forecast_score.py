"""How right the forecast was: its scores against what the trials gained, by sign and by rank correlation.

A cell is a label budget with a seed. Cells are no independent draws (the images of a small budget are among those of
a larger one, and gains shrink as labels grow), so p-values are too small: they tell a clear order from none, no more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean

from scipy.stats import kendalltau, spearmanr

from graft.data.label_budget import Labels
from tasks.results.forecast_file import Forecast, SourceScores
from tasks.results.metrics_file import ForecastScore, RankCorrelation, Summary
from tasks.trials.plan import BASELINE

Gains = Mapping[tuple[Labels, int], float]
"""Gain over the baseline, by labels per class and seed."""

_FEWEST = 3
"""Values that have an order worth comparing."""


def realised_gains(summary: Summary, strategy: str) -> dict[tuple[Labels, int], float]:
    """What a strategy gained over the baseline in every cell, in the lead metric, from reports/metrics.json."""
    found = {}
    for labels, rows in summary.budgets().items():
        reached, baseline = (rows[name].score(summary.lead).seeds for name in (strategy, BASELINE))
        for seed, ours, theirs in zip(summary.budget.seeds, reached, baseline, strict=True):
            found[labels, seed] = round(ours - theirs, 4)
    return found


def score_forecast(forecast: Forecast, gains: Gains) -> ForecastScore:
    """The forecast of the project's own source model against realised gains, on the cells that both have.

    Only the lift of the probe is scored: LogME and its like compare models on the same images, and over label budgets
    they grow while gains shrink.
    """
    cells = [(cell.labels, cell.seed, cell.lift) for cell in forecast.own_cells]
    known = [
        (gains[labels, seed], lift) for labels, seed, lift in cells if (labels, seed) in gains and lift is not None
    ]
    realised = [gain for gain, _ in known]
    # A sign or a tie must not hang on the last bit.
    lifts = [round(lift, 6) for _, lift in known]
    return ForecastScore(
        n=len(known),
        gained=sum(gain > 0 for gain in realised),
        right_sign=sum(_sign(lift) == _sign(gain) for lift, gain in zip(lifts, realised, strict=True)),
        optimism=round(fmean(lifts) - fmean(realised), 4) if known else None,
        rank=rank_correlation(lifts, realised),
    )


@dataclass(frozen=True)
class RankingScore:
    """How right the order of several source models was."""

    n: int
    """Models."""
    rank: dict[str, RankCorrelation | None]
    """Of each score with what the models reached."""


def score_ranking(forecast: Forecast, realised: Mapping[str, float], labels: Labels | None = None) -> RankingScore:
    """Every score of several source models against what each of them reached.

    Args:
        forecast: of the models.
        realised: accuracy or gain, by the model's name in the forecast.
        labels: a label budget; by default the largest.
    """
    models = {name: model.budgets for name, model in forecast.models.items() if name in realised}
    rows = [next(row for row in found[::-1] if labels in (None, row.labels)).source for found in models.values()]
    reached = [realised[name] for name in models]
    names = [field.name for field in fields(SourceScores)] if rows else []
    ranks = {name: rank_correlation([getattr(row, name) for row in rows], reached) for name in names}
    return RankingScore(len(models), ranks)


def rank_correlation(values: Sequence[float], realised: Sequence[float]) -> RankCorrelation | None:
    """Kendall's tau-b and Spearman's rho; None for fewer than three pairs or where all are tied."""
    if len(values) < _FEWEST or len(set(values)) == 1 or len(set(realised)) == 1:
        return None
    tau, rho = kendalltau(values, realised), spearmanr(values, realised)
    return RankCorrelation(
        kendall=round(float(tau.statistic), 3),
        kendall_p=_three_digits(float(tau.pvalue)),
        spearman=round(float(rho.statistic), 3),
        spearman_p=_three_digits(float(rho.pvalue)),
    )


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")
