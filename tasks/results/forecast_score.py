"""How right the forecast was: its scores against what the trials gained, by sign and by rank correlation.

A cell is a label budget with a seed. Cells are no independent draws (the images of a small budget are among those of
a larger one, and gains shrink as labels grow), so p-values are too small: they tell a clear order from none, no more.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from scipy.stats import kendalltau, spearmanr

from graft.data.label_budget import Labels
from tasks.results.forecast_words import own
from tasks.results.read import budgets, lead
from tasks.trials.plan import BASELINE

Gains = Mapping[tuple[Labels, int], float]
"""Gain over the baseline, by labels per class and seed."""

_FEWEST = 3
"""Values that have an order worth comparing."""


def realised_gains(summary: dict[str, Any], strategy: str) -> dict[tuple[Labels, int], float]:
    """What a strategy gained over the baseline in every cell, in the lead metric, from reports/metrics.json."""
    found, metric = {}, lead(summary)
    for labels, rows in budgets(summary).items():
        reached, baseline = (rows[name][metric]["seeds"] for name in (strategy, BASELINE))
        for seed, ours, theirs in zip(summary["budget"]["seeds"], reached, baseline, strict=True):
            found[labels, seed] = round(ours - theirs, 4)
    return found


def score_forecast(forecast: dict[str, Any], gains: Gains) -> dict[str, Any]:
    """The forecast of the project's own source model against realised gains, on the cells that both have.

    Returns:
        `n` cells, `gained` of them with a gain above zero; `right_sign`, in how many the lift of the probe has the sign
        of the gain (always saying 'it helps' is right in `gained` cells); `optimism`, by how much the lift exceeds the
        gain on average; and `rank`, the rank correlation of lift and gain. Other scores are no part of it: LogME and
        its like compare models on the same images, and over label budgets they grow while gains shrink.
    """
    cells = [cell for cell in own(forecast)["cells"] if (cell["labels"], cell["seed"]) in gains]
    realised = [gains[cell["labels"], cell["seed"]] for cell in cells]
    # A sign or a tie must not hang on the last bit.
    lifts = [round(cell["source"]["probe"] - cell["random"]["probe"], 6) for cell in cells]
    return {
        "n": len(cells),
        "gained": sum(gain > 0 for gain in realised),
        "right_sign": sum(_sign(lift) == _sign(gain) for lift, gain in zip(lifts, realised, strict=True)),
        "optimism": round(fmean(lifts) - fmean(realised), 4) if cells else None,
        "rank": rank_correlation(lifts, realised),
    }


def score_ranking(
    forecast: dict[str, Any], realised: Mapping[str, float], labels: Labels | None = None
) -> dict[str, Any]:
    """Every score of several source models against what each of them reached: `n` models, and `rank` by score.

    Args:
        realised: accuracy or gain, by the model's name in the forecast.
        labels: a class; by default those of the largest budget.
    """
    models = {name: model["budgets"] for name, model in forecast["models"].items() if name in realised}
    rows = [next(row for row in found[::-1] if labels in (None, row["labels"])) for found in models.values()]
    reached = [realised[name] for name in models]
    names = rows[0]["source"] if rows else {}
    return {
        "n": len(models),
        "rank": {name: rank_correlation([row["source"][name] for row in rows], reached) for name in names},
    }


def rank_correlation(values: Sequence[float], realised: Sequence[float]) -> dict[str, float] | None:
    """Kendall's tau-b and Spearman's rho with their p-values; None for fewer than three pairs or where all are tied."""
    if len(values) < _FEWEST or len(set(values)) == 1 or len(set(realised)) == 1:
        return None
    tau, rho = kendalltau(values, realised), spearmanr(values, realised)
    return {
        "kendall": round(float(tau.statistic), 3),
        "kendall_p": _short(float(tau.pvalue)),
        "spearman": round(float(rho.statistic), 3),
        "spearman_p": _short(float(rho.pvalue)),
    }


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _short(value: float) -> float:
    return float(f"{value:.3g}")
