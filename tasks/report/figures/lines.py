"""The figures with a line a strategy: by optimiser step, by labels and by transferred layers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

from tasks.report.figures.palette import Look
from tasks.report.figures.svg import FAINT, INK, MUTED, canvas, style, to_svg
from tasks.results.companions import depth_sweep, swept
from tasks.results.efficiency import score_by_labels
from tasks.results.metrics_file import Summary
from tasks.results.words import labels_in_words, metric_in_words
from tasks.trials.on_disk import Trial
from tasks.trials.plan import BASELINE

Looks = Mapping[str, Look]
Values = Mapping[float, Sequence[float]]
"""The values of all seeds, by place on the horizontal axis."""


def learning_curves(trials: list[Trial], looks: Looks) -> Markup:
    """Validation accuracy by step: the mean over seeds and the range from the worst seed to the best."""
    with style():
        figure = canvas(440, 330 + 10 * _in_legend(looks))
        axes = figure.subplots()
        for name, look in looks.items():
            by_step: dict[float, list[float]] = {}
            for point in (point for trial in trials if trial.strategy == name for point in trial.curve):
                by_step.setdefault(point.step, []).append(point.val_accuracy)
            if by_step:
                _line(axes, by_step, look, name)
        _explain_faint(axes, looks)
        _percent_axis(axes, "validation accuracy")
        axes.set_xlabel("optimiser step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=2)
        return to_svg(figure, "curves", "Validation accuracy by optimiser step, a line a strategy")


def efficiency_plot(summary: Summary, looks: Looks) -> Markup | None:
    """The lead metric by labels per class: mean and range over seeds; dashed where a strategy needs no labels."""
    scores, labels, metric = _seeds_by_labels(summary), _places(summary), metric_in_words(summary.lead)
    if len(labels) < 2:
        return None
    with style():
        figure = canvas(440, 360 + 10 * _in_legend(looks))
        axes = figure.subplots()
        _labels_axis(axes, labels)
        _set_range(axes, scores, [name for name, look in looks.items() if look.band])
        _lines_by_labels(axes, scores, looks)
        _explain_faint(axes, looks)
        _percent_axis(axes, f"test {metric}")
        axes.set_xlabel("labels per class to train on")
        figure.legend(loc="outside lower center", ncols=2)
        return to_svg(figure, "label_efficiency", f"Test {metric} by labels per class, a line a strategy")


def efficiency_panels(summary: Summary, looks: Looks) -> dict[str, Markup]:
    """A small figure for each strategy, with the baseline next to it: where many lines would hide one another."""
    scores, labels, metric = _seeds_by_labels(summary), _places(summary), metric_in_words(summary.lead)
    if len(labels) < 2:
        return {}
    return {name: _panel(scores, labels, metric, name, looks) for name in scores if name != BASELINE}


def depth_plot(summary: Summary, looks: Looks) -> Markup | None:
    """The lead metric by the number of stages from the source (Yosinski et al. 2014), a line a label budget."""
    strategy = swept(summary)
    if strategy is None:
        return None
    sweeps, metric = depth_sweep(summary, strategy), metric_in_words(summary.lead)
    colour = INK if looks[strategy].faint else looks[strategy].colour
    with style():
        figure = canvas(440, 320 + 10 * len(sweeps))
        axes = figure.subplots()
        for i, (labels, by_depth) in enumerate(sweeps.items()):
            values = {float(depth): score.seeds for depth, score in by_depth.items()}
            strength = (i + 2) / (len(sweeps) + 1)  # the largest budget in full colour
            _line(axes, values, Look(colour, "osD^v"[i % 5]), labels_in_words(labels), strength)
        _percent_axis(axes, f"test {metric}")
        axes.set_xlabel("stages that come from the source")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=2)
        return to_svg(figure, "depth", f"Test {metric} by the number of transferred stages, a line a label budget")


def _panel(scores: Mapping[str, Values], labels: Mapping[float, str], metric: str, name: str, looks: Looks) -> Markup:
    with style():
        figure = canvas(190, 150)
        axes = figure.subplots()
        _labels_axis(axes, labels)
        _set_range(axes, scores, scores)
        alone = replace(looks[name], colour=MUTED) if looks[name].faint else looks[name]
        pair = {BASELINE: looks[BASELINE], name: replace(alone, band=True, faint=False)}
        _lines_by_labels(axes, scores, pair)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
        return to_svg(figure, f"efficiency-{name}", f"Test {metric} of {name} and {BASELINE} by labels per class")


def _line(axes: Axes, values: Values, look: Look, name: str, strength: float = 1.0) -> None:
    """The mean, and behind it the range from the worst seed to the best; one of many is a thin line without a name."""
    places = sorted(values)
    means = [fmean(values[place]) for place in places]
    if look.faint:
        axes.plot(places, means, color=look.colour, linewidth=1.2, zorder=1.5)
        return
    if look.band:
        worst, best = [min(values[place]) for place in places], [max(values[place]) for place in places]
        axes.fill_between(places, worst, best, color=look.colour, alpha=0.14 * strength, linewidth=0)
    width = 3 if name == BASELINE else 2
    axes.plot(
        places, means, color=look.colour, alpha=strength, linewidth=width, marker=look.marker, markersize=5, label=name
    )


def _lines_by_labels(axes: Axes, scores: Mapping[str, Values], looks: Looks) -> None:
    """A line a strategy; level and dashed for one that needs no labels, and an arrow where it lies below the plot."""
    left, right = axes.get_xlim()
    floor = axes.get_ylim()[0]
    below = 0
    for name, look in looks.items():
        level = scores[name].get(0)
        if level is None:
            _line(axes, scores[name], look, name)
        elif fmean(level) >= floor:
            faint = {"linewidth": 1.2, "zorder": 1.5} if look.faint else {"label": name}
            axes.plot([left, right], [fmean(level)] * 2, color=look.colour, linestyle=(0, (4, 3)), **faint)
            if look.band:
                axes.fill_between([left, right], min(level), max(level), color=look.colour, alpha=0.14, linewidth=0)
        elif not look.faint:
            place = (0.97 - 0.06 * below, 0)
            axes.plot(*place, "v", color=look.colour, markersize=9, clip_on=False, transform=axes.transAxes, label=name)
            below += 1


def _seeds_by_labels(summary: Summary) -> dict[str, dict[float, Sequence[float]]]:
    return {
        name: {summary.as_number(labels): score.seeds for labels, score in by_labels.items()}
        for name, by_labels in score_by_labels(summary).items()
    }


def _places(summary: Summary) -> dict[float, str]:
    """Where the label budgets stand on the axis, and what is written there."""
    return {summary.as_number(labels): str(labels) for labels in summary.budgets()}


def _labels_axis(axes: Axes, labels: Mapping[float, str]) -> None:
    """From one label to two is as far as from five to ten."""
    axes.set_xscale("log")
    axes.set_xlim(min(labels) / 1.1, max(labels) * 1.1)
    axes.xaxis.set_major_locator(FixedLocator(list(labels)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: labels.get(number, "")))
    axes.xaxis.set_minor_locator(NullLocator())


def levels(summary: Summary, looks: Looks) -> dict[str, bool]:
    """Whether the figure by labels shows levels of strategies that need no labels, and arrows for those below it."""
    scores = _seeds_by_labels(summary)
    floor, _ = _range(scores, [name for name, look in looks.items() if look.band])
    found = {name: fmean(seeds[0]) for name, seeds in scores.items() if 0 in seeds}
    return {
        "shown": any(level >= floor for level in found.values()),
        "below": any(level < floor and not looks[name].faint for name, level in found.items()),
    }


def _set_range(axes: Axes, scores: Mapping[str, Values], banded: Collection[str]) -> None:
    axes.set_ylim(*_range(scores, banded))


def _range(scores: Mapping[str, Values], banded: Collection[str]) -> tuple[float, float]:
    """Room for all lines and bands, but not for levels below those of all that learn from labels."""
    values: dict[bool, list[float]] = {True: [], False: []}  # of those that learn from labels, and of the others
    for name, by_labels in scores.items():
        for labels, seeds in by_labels.items():
            values[labels > 0] += seeds if name in banded else [fmean(seeds)]
    bottom, top = min(values[True]), max(values[True] + values[False])
    margin = 0.05 * (top - bottom) + 0.01
    return max(0.0, bottom - margin), min(1.005, top + margin)


def _percent_axis(axes: Axes, name: str) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel(name)


def _explain_faint(axes: Axes, looks: Looks) -> None:
    faint = [name for name, look in looks.items() if look.faint]
    if faint:
        axes.plot([], [], color=FAINT, linewidth=1.2, label="1 other" if len(faint) == 1 else f"{len(faint)} others")


def _in_legend(looks: Looks) -> int:
    return sum(not look.faint for look in looks.values())
