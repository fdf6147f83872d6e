"""The section on the forecast: what it said, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from graft.data.label_budget import Labels
from tasks.report.figures.svg import INK, MARKERS, MUTED, SERIES, canvas, style, to_svg
from tasks.results.forecast_file import BudgetScores, Forecast
from tasks.results.forecast_score import Gains, realised_gains
from tasks.results.forecast_words import EXPECTED, gap_in_numbers, gap_in_words, ranking_in_words, warning
from tasks.results.metrics_file import ForecastScore, Summary
from tasks.results.words import labels_in_words
from tasks.trials.plan import BASELINE


@dataclass(frozen=True)
class OutlookRow:
    """A label budget: what was forecast, and what came of it."""

    forecast: BudgetScores
    expected: str
    """In words."""
    gain: float | None
    """Of the strategy that the forecast is held against, mean over seeds."""


@dataclass(frozen=True)
class Outlook:
    """What the section shows."""

    gap: str
    gap_numbers: str
    warning: str
    rows: tuple[OutlookRow, ...]
    strategy: str | None
    """The one whose gains the forecast is held against."""
    ranking: str
    models: Mapping[str, BudgetScores]
    """Source models with the largest label budget, the best first."""
    scored: Mapping[str, ForecastScore]
    figure: Markup | None


def outlook(forecast: Forecast, summary: Summary) -> Outlook:
    """What the template shows: the forecast in words, and what came of it."""
    strategy = judged(summary)
    gains = realised_gains(summary, strategy) if strategy else {}
    return Outlook(
        gap=gap_in_words(forecast),
        gap_numbers=gap_in_numbers(forecast.gap) if forecast.gap is not None else "",
        warning=warning(forecast),
        rows=tuple(
            OutlookRow(row, EXPECTED[row.expected], _mean_gain(gains, row.labels)) for row in forecast.own_budgets
        ),
        strategy=strategy,
        ranking=ranking_in_words(forecast),
        models={name: forecast.best_budget(name) for name in forecast.ranking},
        scored=summary.forecast,
        figure=forecast_plot(forecast, gains, strategy) if strategy else None,
    )


def judged(summary: Summary) -> str | None:
    """The strategy whose gains the forecast is held against: the candidate's, or else the best that is no baseline."""
    candidate = summary.candidate.strategy
    others = [name for name, _ in summary.ranked() if name != BASELINE]
    return candidate if candidate in others else next(iter(others), None)


def forecast_plot(forecast: Forecast, gains: Gains, strategy: str) -> Markup | None:
    """The gain of a strategy by the forecast lift, a dot a label budget and seed; None without gains."""
    by_labels: dict[Labels, list[tuple[float, float]]] = {}
    for cell in forecast.own_cells:
        gain, lift = gains.get((cell.labels, cell.seed)), cell.lift
        if gain is not None and lift is not None:
            by_labels.setdefault(cell.labels, []).append((100 * lift, 100 * gain))
    if not by_labels:
        return None
    with style():
        figure = canvas(440, 380)
        axes = figure.subplots()
        axes.axhline(0, color=INK, linewidth=1.5)
        axes.axvline(0, color=INK, linewidth=1.5)
        for i, (labels, dots) in enumerate(by_labels.items()):
            marker, colour = MARKERS[i % len(MARKERS)], SERIES[i % len(SERIES)]
            axes.plot(*zip(*dots, strict=True), marker, color=colour, markersize=8, label=labels_in_words(labels))
        _diagonal(axes)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}".replace("-", "−") if x else "0"))
            axis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("forecast: lift of a probe, points")
        axes.set_ylabel(f"gain of {strategy}, points")
        figure.legend(loc="outside lower center", ncols=2)
        return to_svg(figure, "forecast", "Realised gain by forecast lift, a dot a label budget and seed")


def _diagonal(axes: Axes) -> None:
    """Where the gain is as large as the lift, within what is shown anyway."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    axes.plot([-100, 100], [-100, 100], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), zorder=0)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _mean_gain(gains: Gains, labels: Labels) -> float | None:
    found = [gain for (budget, _), gain in gains.items() if budget == labels]
    return sum(found) / len(found) if found else None
