"""The result in the terminal: tables of strategies, read from `reports/metrics.json`."""

from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from graft.data.label_budget import ALL, by_size
from tasks.common.errors import GraftError
from tasks.common.places import METRICS
from tasks.results.companions import oracles
from tasks.results.efficiency import candidates_match, score_by_labels
from tasks.results.read import (
    beside,
    budgets,
    heading,
    labels_a_class,
    lead,
    metric_in_words,
    ranked,
    read_summary,
    things,
)
from tasks.results.words import SYMBOLS, leads_in_words, paid_in_words, rank, really_better, verdict_in_words

Justify = Literal["left", "right"]

STYLES = {"positive": "bold green", "no evidence": "yellow", "negative": "bold red", "baseline": "dim"}

MOST_WITH_SPREAD = 4
"""Columns of the table by labels that hold an interval too; more would not fit into eighty letters."""


def leaderboard(root: Path) -> RenderableType:
    """Strategies by the lead metric, with rank, intervals, gain and verdict; then the same by label budget.

    Raises:
        GraftError: there is no result yet, or its file is damaged.
    """
    result = read_summary(root)
    try:
        shown: list[RenderableType] = [_comparison(result), Text(_note(result), "dim")]
        if lead(result) != "accuracy":
            shown += ["", _beside(result)]
        if len(budgets(result)) > 1:
            shown += ["", _by_labels(result), Text(candidates_match(result))]
    except KeyError as error:
        raise GraftError(
            f"{METRICS}: a result of another version of Graft: it has no {error}", "Make it again: graft run"
        ) from None
    return Group(*shown)


def _comparison(result: dict[str, Any]) -> Table:
    metric, oracle = lead(result), oracles(result)
    score = f"{metric_in_words(metric)} %".replace("balanced ", "balanced\n")
    columns: dict[str, Justify] = {"rank": "left", "strategy": "left", score: "right"}
    table = _table("Leaderboard: target test set", columns | {"gain over scratch": "right", "verdict": "left"})
    for name, row in ranked(result):
        verdict = row["verdict"]
        label = verdict if verdict == "baseline" else f"{SYMBOLS[verdict]} {verdict_in_words(row)}"
        table.add_row(
            rank(row) if len(result["budget"]["seeds"]) > 1 else "–",
            _name(name, row, result),
            _with_interval(row[metric]),
            "–" if verdict == "baseline" else _gain(row["gain_over_scratch"]),
            Text(label, STYLES[verdict]),
        )
        if name in oracle:
            table.add_row("", "   oracle", _with_interval(oracle[name]), "", "", style="dim italic")
    return table


def _note(result: dict[str, Any]) -> str:
    budget, strategies = result["budget"], result["strategies"]
    paid = (
        f"{paid_in_words(budget)}, {_counted(len(budget['seeds']), 'seed')}, "
        f"{result['test']['n']} test {things(result)}. "
        f"★ chosen on validation alone: {result['candidate']['trial']}."
    )
    ranks = (
        "A rank is a range: behind all that are really better, before all that are really worse "
        f"(paired over seeds and {things(result)}, corrected for the number of pairs). Really better than others: "
        f"{_differences(result)}."
    )
    parts = [paid, ranks if len(budget["seeds"]) > 1 else "One seed: no interval, and no rank."]
    if result["metric"]["asked"] != "auto" or lead(result) != "accuracy":
        parts.append(leads_in_words(result))
    if any("†" in verdict_in_words(row) for row in strategies.values()):
        parts.append(f"† would not hold for all {len(strategies) - 1} strategies at once.")
    if len(budget["seeds"]) == 2:
        parts.append("Two seeds: intervals may well be too narrow; ask for three or more.")
    if any(not row["labels_per_class"] for row in strategies.values()):
        parts.append("° used no labels of the target.")
    if oracles(result):
        parts.append("oracle: the weights that labels would have chosen; never ranked or promoted.")
    return " ".join(parts)


def _differences(result: dict[str, Any]) -> str:
    """The candidate's strategy, and at most two more, with those that they really beat."""
    chosen, rows = result["candidate"]["strategy"], [name for name, row in ranked(result) if row["better_than"]]
    named = sorted(rows, key=lambda name: name != chosen)[:3]
    more = f"; {len(rows) - len(named)} more in the report" if len(rows) > len(named) else ""
    return ("; ".join(f"{name} (than {really_better(result, name)})" for name in named) + more) if named else "none"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _beside(result: dict[str, Any]) -> Table:
    """The other metrics of each strategy, which decide nothing."""
    names: dict[str, Justify] = {f"{metric_in_words(name)} %": "right" for name in beside(result)}
    table = _table("Next to it", {"strategy": "left", **names})
    for name, row in ranked(result):
        table.add_row(_name(name, row, result), *(_with_interval(row[metric]) for metric in beside(result)))
    return table


def _by_labels(result: dict[str, Any]) -> Table:
    """The lead metric of each strategy with each label budget; in the first column of those that need none."""
    scores = score_by_labels(result)
    columns = sorted({labels for by_labels in scores.values() for labels in by_labels}, key=by_size)
    show = _with_interval if len(columns) <= MOST_WITH_SPREAD else _mean
    headings: dict[str, Justify] = {str(labels or "none"): "right" for labels in columns}
    mean = f" (all: {labels_a_class(result, ALL):.1f} on average)" if ALL in columns else ""
    title = f"{heading(lead(result))} % by labels per class{mean}"
    table = _table(title, {"strategy": "left", **headings})
    for name, by_labels in scores.items():
        values = [show(by_labels[labels]) if labels in by_labels else "" for labels in columns]
        table.add_row(_name(name, result["strategies"][name], result), *values)
    return table


def _table(title: str, columns: dict[str, Justify]) -> Table:
    table = Table(
        title=title,
        title_style="bold",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
        collapse_padding=True,
    )
    for name, justify in columns.items():
        table.add_column(name, justify=justify, no_wrap=True)
    return table


def _name(name: str, row: dict[str, Any], result: dict[str, Any]) -> Text:
    chosen = name == result["candidate"]["strategy"]
    marks = ("★" if chosen else " ") + (" " if row["labels_per_class"] else "°")
    return Text(f"{marks} {name}", "bold" if chosen else "")


def _mean(value: dict[str, Any]) -> str:
    return f"{100 * value['mean']:.1f}"


def _with_interval(value: dict[str, Any]) -> str:
    if value["low"] is None:
        return f"{_mean(value)}      "
    return f"{_mean(value)} ±{100 * (value['high'] - value['low']) / 2:4.1f}"


def _gain(value: dict[str, Any]) -> str:
    if value["low"] is None:
        return f"{100 * value['mean']:+.1f}"
    mean, low, high = (100 * value[key] for key in ("mean", "low", "high"))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
