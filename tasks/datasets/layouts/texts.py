"""Domains in files of texts: TSV, CSV or JSON lines with the columns label and text; optional: split, domain, a group.

A TSV or CSV may have no headings; each row is then a label and a text.
"""

from collections.abc import Sequence
from pathlib import Path

from tasks.datasets.files.tables import read_headings
from tasks.datasets.files.text_tables import JSON_LINES, SUFFIXES, read_texts
from tasks.datasets.layouts.domain import Domain, LabelledTexts, split_of
from tasks.datasets.layouts.manifest import LABELS, Columns, Listed, enter, listed_in, meant, pick

TEXTS = ("text", "sentence", "message", "review", "content")
WITHOUT_HEADINGS = "texts without headings"


def is_texts(folder: Path, names: Sequence[str], columns: Columns, *, alone: bool) -> bool:
    """Whether a folder with these files is a domain of texts; a table without headings counts only if `alone`, that is
    in a folder without folders."""
    return any(_has_texts(folder / name, columns) or alone for name in names if name.endswith(SUFFIXES))


def text_splits(folder: Path) -> set[str | None]:
    """The splits that the files of texts in a folder are named after."""
    files = [path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file()]
    return {split_of(path.stem) for path in files} - {None}


def open_texts(domain: Domain, folder: Path, names: Sequence[str], columns: Columns) -> None:
    """Read one file, or one per split (`train.tsv`, `test.tsv`)."""
    domain.layout = "texts"
    found = [name for name in names if name.endswith(SUFFIXES)]
    if len(found) > 1 and not all(split_of(Path(name).stem) for name in found):
        domain.add_fault(
            domain.path,
            f"found {len(found)} tables ({', '.join(found[:5])}); keep one, or one per split (train.tsv, test.tsv)",
        )
        return
    listed = listed_in(domain, folder, found, lambda name: _listed(domain, folder, name, columns))
    if not domain.faults:
        enter(
            domain,
            listed,
            lambda rows, labels, groups: LabelledTexts([r.name for r in rows], labels, [r.what for r in rows], groups),
            columns,
        )


def _has_texts(path: Path, columns: Columns) -> bool:
    """Whether a file has a column of texts."""
    if path.suffix == JSON_LINES:
        return True
    return bool(set(read_headings(path)) & _asked_or(TEXTS, columns.text))


def _asked_or(usual: Sequence[str], asked: str) -> set[str]:
    return {asked} if asked else set(usual)


def _listed(domain: Domain, folder: Path, name: str, columns: Columns) -> list[Listed]:
    known = _asked_or(TEXTS, columns.text) | _asked_or(LABELS, columns.label)
    headings, rows, has_headings = read_texts(folder / name, known)
    if not has_headings:
        domain.layout = WITHOUT_HEADINGS
    if not rows:
        return []
    return meant(domain, name, headings, rows, pick(headings, columns.text, TEXTS, "text"), columns)
