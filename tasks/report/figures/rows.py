"""The figures with a row or a dot for what is compared: gains, recall of each class, calibration."""

from collections.abc import Mapping
from statistics import median

import torch
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from graft.measures.findings import Interval
from graft.measures.metrics import reliability
from tasks.report.evidence import Evidence
from tasks.report.figures.palette import Look
from tasks.report.figures.svg import INK, MUTED, canvas, style, to_svg
from tasks.results.metrics_file import Summary
from tasks.results.words import gain_in_words, metric_in_words, short
from tasks.trials.plan import BASELINE

Looks = Mapping[str, Look]

MOST_CLASSES = 24
"""A figure with a row a class shows the hardest of them, if there are more."""

MOST_ROOMY = 8
"""Of more strategies the rows stand closer, without their numbers."""


def gain_plot(summary: Summary, looks: Looks) -> Markup | None:
    """Gains over the baseline with their intervals, around zero; an arrow where one goes on outside the plot."""
    rows = [(name, row) for name, row in summary.ranked() if name != BASELINE][::-1]
    if not rows:
        return None
    left, right = _gain_window(summary)
    roomy = len(rows) <= MOST_ROOMY
    with style():
        figure = canvas(440, 70 + (48 if roomy else 27) * len(rows))
        axes = figure.subplots()
        margin = 0.05 * (right - left)  # room for whole marks at the edges
        axes.set_xlim(left - margin, right + margin)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.axvline(0, color=INK, linewidth=1.5)
        for y, (name, row) in enumerate(rows):
            _gain_row(axes, y, row.gain_over_scratch, looks[name], (left, right))
        labels = [f"{name}\n{gain_in_words(row.gain_over_scratch)}" if roomy else name for name, row in rows]
        axes.set_yticks(range(len(rows)), labels)
        axes.tick_params(axis="y", length=0, pad=12)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"gain in test {metric_in_words(summary.lead)}, points")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}".replace("-", "−") if x else "0"))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        return to_svg(figure, "gains", f"Gain in {metric_in_words(summary.lead)} over scratch, a row a strategy")


def gains_cut(summary: Summary) -> bool:
    """Whether a gain, or an end of its interval, lies outside the figure."""
    if len(summary.strategies) == 1:
        return False
    left, right = _gain_window(summary)
    return any(not left <= gain <= right for gains in _gains(summary) for gain in gains)


def _gains(summary: Summary) -> list[list[float]]:
    """Mean and interval of every gain, in points."""
    rows = [row.gain_over_scratch for name, row in summary.strategies.items() if name != BASELINE]
    return [[100 * value for value in (gain.mean, gain.low, gain.high) if value is not None] for gain in rows]


def _gain_window(summary: Summary) -> tuple[float, float]:
    """What is shown of the axis: all gains, but for those that would leave no room for the others."""
    gains = _gains(summary)
    window = max(1.0, 2.5 * median(max(map(abs, gain)) for gain in gains))
    left = min(-0.2 * window, max(-window, min(map(min, gains))))
    right = max(0.2 * window, min(window, max(map(max, gains))))
    return left, right


def _gain_row(axes: Axes, y: int, gain: Interval, look: Look, window: tuple[float, float]) -> None:
    left, right = window
    mean = 100 * gain.mean
    if left <= mean <= right:
        axes.plot([mean], [y], look.marker, color=look.colour, markersize=9, clip_on=False)
    ends = (mean, mean) if gain.low is None or gain.high is None else (100 * gain.low, 100 * gain.high)
    if max(ends[0], left) <= min(ends[1], right):
        axes.plot([max(ends[0], left), min(ends[1], right)], [y, y], color=look.colour, linewidth=3)
    for is_cut, edge, symbol in ((ends[0] < left, left, "<"), (ends[1] > right, right, ">")):
        if is_cut:
            axes.plot([edge], [y], symbol, color=look.colour, markersize=9, clip_on=False)


def recall_plot(summary: Summary, looks: Looks) -> Markup:
    """Recall of each class, mean over seeds: the candidate's strategy and the baseline."""
    chosen = summary.candidate.strategy
    recall = {
        name: {label: value for label, value in summary.strategies[name].per_class_recall.items() if value is not None}
        for name in dict.fromkeys((BASELINE, chosen))
    }
    hardest = sorted(recall[chosen], key=lambda name: recall[chosen][name])[:MOST_CLASSES]
    rows = [name for name in summary.test.classes if name in hardest][::-1]
    with style():
        figure = canvas(440, 92 + 22 * len(rows))
        axes = figure.subplots()
        if len(recall) == 2:
            for y, name in enumerate(rows):
                axes.plot([recall[BASELINE][name], recall[chosen][name]], [y, y], color=MUTED, linewidth=1.5, alpha=0.5)
        for strategy, values in recall.items():
            look = looks[strategy]
            places = [values[name] for name in rows]
            axes.plot(places, range(len(rows)), look.marker, color=look.colour, markersize=8, label=strategy)
        axes.set_yticks(range(len(rows)), [short(name) for name in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("recall, mean over seeds")
        figure.legend(loc="outside upper center", ncols=2)
        return to_svg(figure, "recall", "Recall of each class")


def reliability_plot(evidence: Evidence, looks: Looks) -> Markup:
    """Accuracy by confidence, all seeds together: the candidate's strategy and the baseline."""
    labels = evidence.test.labels
    with style():
        figure = canvas(440, 360)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        for strategy in dict.fromkeys((BASELINE, evidence.summary.candidate.strategy)):
            pooled = evidence.probabilities[evidence.indices_of(strategy)].flatten(0, 1)
            bins = reliability(pooled, labels.repeat(len(evidence.indices_of(strategy))))
            filled = bins.counts > 0
            look = looks[strategy]
            x, y = bins.confidence[filled].tolist(), bins.accuracy[filled].tolist()
            sizes = 24 + 260 * torch.sqrt(bins.counts[filled] / bins.counts.sum())
            axes.scatter(x, y, s=sizes.tolist(), color=look.colour, marker=look.marker, linewidths=0, alpha=0.7)
            axes.plot([], [], look.marker, color=look.colour, markersize=8, label=strategy)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlim(0, 1.04)
        axes.set_ylim(0, 1.04)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        axes.legend(loc="upper left")
        return to_svg(figure, "reliability", "Accuracy by confidence")
