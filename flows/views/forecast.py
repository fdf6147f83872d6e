"""The forecast in the terminal: words first, numbers after, and what to do next."""

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.views.leaderboard import STYLES
from tasks.results.forecast_file import Forecast
from tasks.results.forecast_words import (
    EXPECTED,
    gap_in_numbers,
    gap_in_words,
    ranking_in_words,
    rightness,
    warning,
)
from tasks.results.metrics_file import Summary
from tasks.results.words import SYMBOLS, gain_in_words, labels_in_words, percent, points, short

_EXPLAINED = (
    "Means over seeds; the lift is over untrained bodies. Probe: ridge regression on the features, tested in a "
    "cross-validation. Scratch beats an untrained body, so frozen features gain less over it than their lift."
)


_NONE = "–"


def forecast_view(forecast: Forecast, result: Summary | None) -> RenderableType:
    """All that is known before a trial runs, and how right it was, by the `result` of the trials."""
    parts: list[RenderableType] = [Text(gap_in_words(forecast), "bold")]
    if warned := warning(forecast):
        parts.append(Text(warned, "yellow"))
    parts += [_expectations(forecast), Text(ranking_in_words(forecast), "bold")]
    if len(forecast.ranking) > 1:
        parts.append(_ranking(forecast))
    if forecast.own_budgets:
        parts += [_scores(forecast), Text(_EXPLAINED, "dim")]
    if forecast.gap is not None:
        parts.append(Text(gap_in_numbers(forecast.gap), "dim"))
    parts += ["", *_afterwards(result)]
    return Group(*(part for part in parts if part != Text("")))


def _expectations(forecast: Forecast) -> Table:
    table = Table.grid(padding=(0, 1))
    for row in forecast.own_budgets:
        said = Text(f"{SYMBOLS[row.expected]} {EXPECTED[row.expected]}", STYLES[row.expected])
        probe = row.lift.probe
        lift = f"({points(probe.mean)} points over an untrained body)" if probe else ""
        table.add_row(f"{labels_in_words(row.labels)}:", said, lift)
    return table


def _scores(forecast: Forecast) -> Table:
    """The scores of the project's own model, a row per label budget."""
    table = _table("labels", "LogME", "H-score", "LEEP", "NCE", "probe %", "lift, points")
    for row in forecast.own_budgets:
        source, lift = row.source, row.lift
        table.add_row(
            str(row.labels),
            f"{source.logme:.2f} ({lift.logme.mean:+.2f})",
            *map(_number, (source.h_score, source.leep, source.nce)),
            _percent(source.probe),
            gain_in_words(lift.probe) if lift.probe else _NONE,
        )
    return table


def _ranking(forecast: Forecast) -> Table:
    """Every source model at the largest label budget, best first."""
    table = _table("source model", "LogME", "H-score", "LEEP", "NCE", "probe %", "lift, points")
    for name in forecast.ranking:
        row = forecast.best_budget(name)
        source = row.source
        scores = map(_number, (source.logme, source.h_score, source.leep, source.nce))
        table.add_row(
            short(name, 24), *scores, _percent(source.probe), points(row.lift.probe.mean) if row.lift.probe else _NONE
        )
    return table


def _number(value: float | None) -> str:
    """With two decimals; a dash for what a network without a head cannot say."""
    return _NONE if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return _NONE if value is None else percent(value)


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    table.add_column(first, justify="left")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _afterwards(result: Summary | None) -> list[RenderableType]:
    """How right the forecast was, or what to do to find out."""
    if result is None:
        return [Text.assemble("What it is really worth: ", ("graft run", "bold"))]
    lines: list[RenderableType] = [Text(f"  {rightness(name, score)}") for name, score in result.forecast.items()]
    return [Text("How right it was (a cell is a label budget with a seed)", "bold"), *lines] if lines else []
