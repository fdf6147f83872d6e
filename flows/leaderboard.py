"""The result in the terminal: a table of strategies, read from `reports/metrics.json`."""

import json
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.errors import GraftError
from tasks.report.words import SYMBOLS
from tasks.summary_view import ranked

METRICS = Path("reports/metrics.json")

STYLES = {"positive": "bold green", "no evidence": "yellow", "negative": "bold red", "baseline": "dim"}


def leaderboard(root: Path) -> RenderableType:
    """Strategies by test accuracy, with intervals over seeds, the gain over scratch and the verdict on it.

    Raises:
        GraftError: there is no result yet, or its file is damaged.
    """
    try:
        result = json.loads((root / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraftError(f"{METRICS}: no result that can be read: {error}", "Make it: graft run") from None
    budget, candidate = result["budget"], result["candidate"]
    table = Table(
        title="Leaderboard: target test set",
        title_style="bold",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1),
        pad_edge=False,
        collapse_padding=True,
    )
    for heading, justify in (
        ("strategy", "left"),
        ("accuracy %", "right"),
        ("macro-F1 %", "right"),
        ("gain over scratch", "right"),
        ("verdict", "left"),
    ):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for name, row in ranked(result):
        verdict = row["verdict"]
        label = verdict if verdict == "baseline" else f"{SYMBOLS[verdict]} {verdict}"
        chosen = name == candidate["strategy"]
        table.add_row(
            Text(f"★ {name}" if chosen else f"  {name}", "bold" if chosen else ""),
            _with_interval(row["accuracy"]),
            _with_interval(row["macro_f1"]),
            "–" if verdict == "baseline" else _gain(row["gain_over_scratch"]),
            Text(label, STYLES[verdict]),
        )
    note = Text(
        f"{budget['labels_per_class']} labels a class to learn from and {budget['validation_per_class']} to choose by, "
        f"{len(budget['seeds'])} seeds, {result['test']['n']} test pictures. "
        f"★ chosen on validation alone: {candidate['trial']}.",
        "dim",
    )
    return Group(table, note)


def _with_interval(value: dict[str, Any]) -> str:
    mean = 100 * value["mean"]
    if value.get("low") is None:
        return f"{mean:.1f}      "
    return f"{mean:.1f} ±{100 * (value['high'] - value['low']) / 2:4.1f}"


def _gain(value: dict[str, Any]) -> str:
    if value["low"] is None:
        return f"{100 * value['mean']:+.1f}"
    mean, low, high = (100 * value[key] for key in ("mean", "low", "high"))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
