"""Files of texts: TSV, CSV and JSON lines. Every problem with a file raises GraftError, with the lines."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from tasks.common.errors import GraftError
from tasks.datasets.files.tables import MOST_PROBLEMS, Row, delimiter_of, heading_problems, limit_cells, read_text

JSON_LINES = ".jsonl"
SUFFIXES = (".tsv", ".csv", JSON_LINES)
LABEL, TEXT = "label", "text"
"""The two columns of a table without headings."""


def read_texts(path: Path, headings_with: set[str]) -> tuple[list[str], list[Row], bool]:
    """Headings and rows of a table in UTF-8, and whether the file has headings.

    A `.tsv` is separated by tabs, and quotes in it are part of the text; in a `.csv` cells may be quoted. The first
    line holds headings if one of `headings_with` is among them. Without headings, each row is a label and a text.

    Raises:
        GraftError: it is not a valid table; the first problems.
    """
    text = read_text(path)
    if path.suffix == JSON_LINES:
        return *_json_lines(text), True
    cells = [*_literal(text)] if path.suffix == ".tsv" else [*_quoted(path, text)]
    first = [heading.strip() for heading in cells[0][1]] if cells else []
    has_headings = bool(headings_with & set(first))
    if not has_headings:
        _require_labels(first, [row[0].strip() for _, row in cells], headings_with)
    headings = first if has_headings else [LABEL, TEXT]
    if problems := [*heading_problems(headings)]:
        raise GraftError(problems)
    rows, problems = [], []
    for line, row in cells[1:] if has_headings else cells:
        if len(row) != len(headings):
            columns = f"{len(headings)} headings" if has_headings else "2 are needed without headings: label, text"
            problems.append(f"line {line}: {len(row)} cells, but {columns}")
        rows.append(Row(line, {h: cell.strip() for h, cell in zip(headings, row, strict=False)}))
    _refuse(problems)
    return headings, rows, has_headings


def _require_labels(first: list[str], labels: list[str], headings_with: set[str]) -> None:
    """The first cell of a table without headings must be a label: if other labels repeat, it must repeat too."""
    alone = labels.count(labels[0]) < 2 <= max(Counter(labels[1:]).values(), default=0) if labels else False
    if first and (len(first) != 2 or alone):
        wanted = ", ".join(sorted(headings_with))
        raise GraftError(
            f"line 1: neither headings (one of {wanted}) nor a label that occurs again, followed by a text; "
            f"found {', '.join(cell[:40] for cell in first[:8])}"
        )


def _literal(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of a TSV: only tabs and line ends have a meaning."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.removesuffix("\r").split("\t")


def _quoted(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of a CSV; the last line number of a row that spans several."""
    limit_cells()
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter_of(path, text.split("\n", 1)[0]), strict=True
    )
    try:
        for row in reader:
            if any(row):
                yield reader.line_num, row
    except csv.Error as error:
        raise GraftError(f"line {reader.line_num}: {error}") from None


def _json_lines(text: str) -> tuple[list[str], list[Row]]:
    rows, headings, problems = [], dict[str, None](), []
    for number, line in zip(count(1), text.split("\n"), strict=False):
        if not line.strip():
            continue
        try:
            content = json.loads(line, object_pairs_hook=_without_twins)
            if not isinstance(content, dict):
                raise ValueError(f"a {type(content).__name__}, not an object")
            rows.append(Row(number, {key: _cell(key, value) for key, value in content.items()}))
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: not a JSON object of strings and numbers: {str(error)[:200]}")
            continue
        headings |= dict.fromkeys(content)
    _refuse(problems)
    return list(headings), rows


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is repeated")
    return found


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str | int | float):
        raise ValueError(f"{key} is a {type(value).__name__}")
    return str(value).strip()


def _refuse(problems: list[str]) -> None:
    if problems:
        more = len(problems) - MOST_PROBLEMS
        raise GraftError(problems[:MOST_PROBLEMS] + ([f"… and {more:,} more lines"] if more > 0 else []))
