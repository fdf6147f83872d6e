"""The result in the terminal: tables of strategies, read from `reports/metrics.json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from graft.data.label_budget import ALL, by_size
from graft.measures.findings import Interval
from tasks.results.efficiency import candidates_match, score_by_labels
from tasks.results.leaderboard import CHOSEN, Leaderboard, LeaderboardRow, leaderboard
from tasks.results.metrics_file import Summary, read_summary
from tasks.results.words import (
    counted,
    heading,
    leads_in_words,
    metric_in_words,
    paid_in_words,
    percent,
    score_in_words,
    spread,
)

Justify = Literal["left", "right"]

STYLES = {"positive": "bold green", "no evidence": "yellow", "negative": "bold red", "baseline": "dim"}

MOST_WITH_SPREAD = 4
"""Columns of the table by labels that hold an interval too; more would not fit into eighty letters."""


def leaderboard_view(root: Path) -> RenderableType:
    """Strategies by the lead metric, with rank, intervals, gain and verdict; then the same by label budget.

    Raises:
        GraftError: there is no result yet, its file is damaged, or it is of another version.
    """
    summary = read_summary(root)
    board = leaderboard(summary)
    shown: list[RenderableType] = [_comparison(board), Text(_note(summary, board), "dim")]
    if board.others:
        shown += ["", _other_metrics(board)]
    if len(summary.budgets()) > 1:
        shown += ["", _by_labels(summary, board), Text(candidates_match(summary))]
    return Group(*shown)


def _comparison(board: Leaderboard) -> Table:
    score = f"{metric_in_words(board.metric)} %".replace("balanced ", "balanced\n")
    columns: dict[str, Justify] = {"rank": "left", "strategy": "left", score: "right"}
    table = _table("Leaderboard: target test set", columns | {"gain over scratch": "right", "verdict": "left"})
    for row in board.rows:
        table.add_row(row.rank, _name(row), row.score_text, row.gain_text, Text(row.verdict_text, STYLES[row.verdict]))
        if row.oracle:
            table.add_row("", "   oracle", row.oracle_text, "", "", style="dim italic")
    return table


def _note(summary: Summary, board: Leaderboard) -> str:
    budget, things = summary.budget, summary.things
    paid = (
        f"{paid_in_words(budget)}, {counted(len(budget.seeds), 'seed')}, {summary.test.n} test {things}. "
        f"{CHOSEN} chosen by cross-validation alone: {summary.candidate.trial}."
    )
    ranks = (
        "A rank is a range: behind all that are really better, before all that are really worse "
        f"(paired over seeds and {things}, corrected for the number of pairs). Really better than others: "
        f"{_differences(board)}."
    )
    parts = [paid, ranks if len(budget.seeds) > 1 else "One seed: no interval, and no rank."]
    if summary.metric.asked != "auto" or summary.lead != "accuracy":
        parts.append(leads_in_words(summary))
    if any("†" in row.verdict_text for row in board.rows):
        parts.append(f"† would not hold for all {len(board.rows) - 1} strategies at once.")
    if len(budget.seeds) == 2:
        parts.append("Two seeds: intervals may well be too narrow; ask for three or more.")
    if any(not row.labels_per_class for row in board.rows):
        parts.append("° used no labels of the target.")
    if board.has_oracles:
        parts.append("oracle: the weights that labels would have chosen; never ranked or promoted.")
    return " ".join(parts)


def _differences(board: Leaderboard) -> str:
    """The candidate's strategy, and at most two more, with those that they really beat."""
    better = sorted((row for row in board.rows if row.better_than), key=lambda row: not row.is_chosen)
    named = "; ".join(f"{row.strategy} (than {row.better_than})" for row in better[:3])
    return f"{named}; {len(better) - 3} more in the report" if len(better) > 3 else named or "none"


def _other_metrics(board: Leaderboard) -> Table:
    """The other metrics of each strategy, which decide nothing."""
    names: dict[str, Justify] = {f"{metric_in_words(name)} %": "right" for name in board.others}
    table = _table("Next to it", {"strategy": "left", **names})
    for row in board.rows:
        table.add_row(_name(row), *map(score_in_words, row.others))
    return table


def _by_labels(summary: Summary, board: Leaderboard) -> Table:
    """The lead metric of each strategy with each label budget; in the first column of those that need none."""
    scores = score_by_labels(summary)
    columns = sorted({labels for by_labels in scores.values() for labels in by_labels}, key=by_size)
    headings: dict[str, Justify] = {str(labels or "none"): "right" for labels in columns}
    mean = f" (all: {summary.as_number(ALL):.1f} on average)" if ALL in columns else ""
    title = f"{heading(summary.lead)} % by labels per class{mean}"
    table = _table(title, {"strategy": "left", **headings})
    found = [[scores[row.strategy].get(labels) for row in board.rows] for labels in columns]
    show = _aligned if len(columns) <= MOST_WITH_SPREAD else _means
    for row, *cells in zip(board.rows, *map(show, found), strict=True):
        table.add_row(_name(row), *cells)
    return table


def _aligned(scores: Sequence[Interval | None]) -> list[str]:
    """A column of scores with ± below ±."""
    halves = [spread(score) if score else "" for score in scores]
    width = max(map(len, halves))
    return [
        f"{mean} {half[:1]}{half[1:].rjust(width - 1)}" if half else mean
        for mean, half in zip(_means(scores), halves, strict=True)
    ]


def _means(scores: Sequence[Interval | None]) -> list[str]:
    """A column of scores without their intervals."""
    return [percent(score.mean) if score else "" for score in scores]


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


def _name(row: LeaderboardRow) -> Text:
    marks = (CHOSEN if row.is_chosen else " ") + (" " if row.labels_per_class else "°")
    return Text(f"{marks} {row.strategy}", "bold" if row.is_chosen else "")
