"""Tables of text: CSV and TSV files with a header. Every problem with a file raises GraftError."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tasks.common.errors import GraftError
from tasks.datasets.limits import MOST_TABLE, too_large

SUFFIXES = (".csv", ".tsv")
MOST_PROBLEMS = 20
_LONGEST_CELL = 1 << 20


class Row(NamedTuple):
    """A row of a table."""

    line: int
    """Line number in the file, from 1; the last line of a row that spans several."""
    cells: dict[str, str]
    """By heading, with surrounding blanks stripped."""


def read_table(path: Path) -> tuple[list[str], list[Row]]:
    """Headings and rows of a table in UTF-8; a `.csv` is separated by commas or semicolons, a `.tsv` by tabs.

    Raises:
        GraftError: it is not a valid table; the first problems, each with its line.
    """
    text = read_text(path)
    delimiter = delimiter_of(path, text.split("\n", 1)[0])
    limit_cells()
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        headings = [heading.strip() for heading in next(reader, [])]
        if problems := [*heading_problems(headings)]:
            raise GraftError(problems)
        rows, problems = [], []
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(headings):
                problems.append(f"line {reader.line_num}: {len(cells)} cells, but {len(headings)} headings")
            rows.append(Row(reader.line_num, {h: c.strip() for h, c in zip(headings, cells, strict=False)}))
    except csv.Error as error:
        raise GraftError(f"line {reader.line_num}: {error}") from None
    if problems:
        more = len(problems) - MOST_PROBLEMS
        raise GraftError(problems[:MOST_PROBLEMS] + ([f"… and {more:,} more lines"] if more > 0 else []))
    return headings, rows


def read_headings(path: Path) -> list[str]:
    """The headings only; an empty list if the file cannot be read."""
    if not path.is_file():
        return []  # opening a pipe would block
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = file.readline(_LONGEST_CELL)
    except OSError:
        return []
    return [heading.strip().strip('"') for heading in first.rstrip("\n").split(delimiter_of(path, first))]


def limit_cells() -> None:
    """Refuse cells so long that they can only come from a quote that is never closed."""
    csv.field_size_limit(_LONGEST_CELL)


def delimiter_of(path: Path, first_line: str) -> str:
    """The separator of a table's cells."""
    if path.suffix == ".tsv":
        return "\t"
    return ";" if ";" in first_line and "," not in first_line else ","


def read_text(path: Path) -> str:
    """A file in UTF-8, with or without a byte order mark.

    Raises:
        GraftError: it is in another encoding, or contains null bytes.
    """
    try:
        if (size := path.stat().st_size) > MOST_TABLE:
            raise GraftError(too_large("bytes", size, MOST_TABLE, "store the images in folders or as Parquet"))
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = f"0x{error.object[error.start]:02x}"
        raise GraftError(f"line {line}: not UTF-8 (byte {byte}); save it with that encoding") from None
    except OSError as error:
        raise GraftError(f"cannot be read: {error.strerror}") from None
    if "\0" in text:
        raise GraftError(
            f"line {text.count(chr(10), 0, text.index(chr(0))) + 1}: a null byte, so it is not a text file"
        )
    return text


def heading_problems(headings: list[str]) -> Iterator[str]:
    """Problems with the headings of a table."""
    if not any(headings):
        yield "line 1: no headings"
    elif "" in headings:
        yield f"line 1: heading {headings.index('') + 1} is empty"
    elif len(set(headings)) < len(headings):
        twice = sorted({heading for heading in headings if headings.count(heading) > 1})
        yield f"line 1: repeated headings: {', '.join(twice)}"
