"""The forecast in the terminal: words first, numbers after, and what to do next."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.views.leaderboard import STYLES
from tasks.results.forecast_words import (
    EXPECTED,
    gap_in_numbers,
    gap_in_words,
    own,
    ranking_in_words,
    rightness,
    warning,
)
from tasks.results.words import SYMBOLS, interval, labels_in_words, percent, points, short

_EXPLAINED = (
    "Means over seeds; the lift is over untrained bodies. Probe: ridge regression on the features, tested on the "
    "validation labels. Scratch beats an untrained body, so frozen features gain less over it than their lift."
)


def forecast_view(forecast: dict[str, Any], result: dict[str, Any] | None) -> RenderableType:
    """All that is known before a trial runs, and how right it was if `result` (reports/metrics.json) tells."""
    parts: list[RenderableType] = [Text(gap_in_words(forecast), "bold")]
    if warned := warning(forecast):
        parts.append(Text(warned, "yellow"))
    parts += [_expectations(forecast), Text(ranking_in_words(forecast), "bold")]
    if len(forecast["ranking"]) > 1:
        parts.append(_ranking(forecast))
    if own(forecast)["budgets"]:
        parts += [_scores(forecast), Text(_EXPLAINED, "dim")]
    if forecast["gap"] is not None:
        parts.append(Text(gap_in_numbers(forecast["gap"]), "dim"))
    parts += ["", *_afterwards(result)]
    return Group(*(part for part in parts if part != Text("")))


def _expectations(forecast: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 1))
    for row in own(forecast)["budgets"]:
        verdict, lift = row["expected"], points(row["lift"]["probe"]["mean"])
        said = Text(f"{SYMBOLS[verdict]} {EXPECTED[verdict]}", STYLES[verdict])
        table.add_row(f"{labels_in_words(row['labels'])}:", said, f"({lift} points over an untrained body)")
    return table


def _scores(forecast: dict[str, Any]) -> Table:
    """The scores of the project's own model, a row a label budget."""
    table = _table("labels", "LogME", "H-score", "LEEP", "NCE", "probe %", "lift, points")
    for row in own(forecast)["budgets"]:
        lift = row["lift"]
        table.add_row(
            str(row["labels"]),
            f"{row['source']['logme']:.2f} ({lift['logme']['mean']:+.2f})",
            *(_number(row["source"][name]) for name in ("h_score", "leep", "nce")),
            percent(row["source"]["probe"]),
            f"{points(lift['probe']['mean'])} {interval(lift['probe'])}",
        )
    return table


def _ranking(forecast: dict[str, Any]) -> Table:
    """Every source model at the largest label budget, best first."""
    table = _table("source model", "LogME", "H-score", "LEEP", "NCE", "probe %", "lift, points")
    for name in forecast["ranking"]:
        row = forecast["models"][name]["budgets"][-1]
        scores = [_number(row["source"][score]) for score in ("logme", "h_score", "leep", "nce")]
        lift = row["lift"]["probe"]
        table.add_row(short(name, 24), *scores, percent(row["source"]["probe"]), points(lift["mean"]))
    return table


def _number(value: float | None) -> str:
    """With two decimals; a dash for what a network without a head cannot say."""
    return "–" if value is None else f"{value:.2f}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    table.add_column(first, justify="left")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _afterwards(result: dict[str, Any] | None) -> list[RenderableType]:
    """How right the forecast was, or what to do to find out."""
    if result is None:
        return [Text.assemble("What it is really worth: ", ("graft run", "bold"))]
    scored = result.get("forecast") or {}
    lines: list[RenderableType] = [Text(f"  {rightness(name, score)}") for name, score in scored.items()]
    return [Text("How right it was (a cell is a label budget with a seed)", "bold"), *lines] if lines else []
