"""Domains in a table of files: CSV or TSV with the columns path and label; optional: split, domain and a group."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from tasks.common.errors import GraftError
from tasks.datasets.files.tables import SUFFIXES, Row, read_headings, read_table
from tasks.datasets.layouts.domain import (
    TRAIN,
    Domain,
    LabelledImages,
    LabelledTexts,
    enter_listed,
    is_inside,
    split_of,
    usable,
)
from tasks.datasets.layouts.folders import file_pictures

PATHS = ("path", "file", "filename", "file_name", "image")
LABELS = ("label", "class", "category")
SPLIT, DOMAIN = "split", "domain"


class Columns(NamedTuple):
    """The columns and the domain that params.yaml names; empty: the usual column names, and all rows."""

    domain: str = ""
    """Read only the rows with this value in the column `domain`."""
    label: str = ""
    """The column of the labels."""
    group: str = ""
    """The column of the groups; a group is never split between training and test."""
    text: str = ""
    """The column of the texts."""
    every_group: bool = True
    """Whether a row without a group is a problem; otherwise it forms a group of its own."""


class Listed(NamedTuple):
    """A row of a table."""

    what: str
    """The path of an image's file, or a text."""
    label: str
    split: str
    group: str
    name: str
    """Its place: folder, file and line."""
    line: int


def is_manifest(folder: Path, names: Sequence[str]) -> bool:
    """Whether one of these files of a folder is a table with a column of paths."""
    return any(set(read_headings(folder / name)) & set(PATHS) for name in names if name.endswith(SUFFIXES))


def open_manifest(domain: Domain, folder: Path, names: Sequence[str], columns: Columns) -> None:
    """Read one manifest, or one per split (`train.csv`, `test.csv`)."""
    domain.layout = "manifest"
    found = [name for name in names if name.endswith(SUFFIXES)]
    by_split = all(split_of(Path(name).stem) for name in found)
    if len(found) > 1 and not by_split:
        domain.add_fault(
            domain.path,
            f"found {len(found)} tables ({', '.join(found[:5])}); keep one, or one per split (train.csv, test.csv)",
        )
        return
    mentioned: set[str] = set(found)
    listed = listed_in(domain, folder, found, lambda name: _listed(domain, folder, name, columns, mentioned))
    if not domain.faults:
        domain.ignored += _files_beside(folder, mentioned)
        enter(domain, listed, lambda files, labels, groups: _pictures(domain, folder, files, labels, groups), columns)


def listed_in(domain: Domain, folder: Path, names: Sequence[str], read: Callable[[str], list[Listed]]) -> list[Listed]:
    """The rows that `read` returns for each of these tables; an error in one is added to the domain's problems."""
    listed: list[Listed] = []
    for name in names:
        if not usable(domain, folder, folder / name):
            continue
        try:
            listed += read(name)
        except GraftError as error:
            for problem in error.problems:
                domain.add_fault(f"{domain.path}/{name}", problem)
    return listed


def _files_beside(folder: Path, mentioned: set[str]) -> int:
    """Number of files in a folder that no table mentions."""
    inside = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return sum(path.relative_to(folder).as_posix() not in mentioned for path in inside)


def _listed(domain: Domain, folder: Path, name: str, columns: Columns, mentioned: set[str]) -> list[Listed]:
    """The selected rows; adds every file that the table names, of other domains too, to `mentioned`."""
    headings, rows = read_table(folder / name)
    path = pick(headings, "", PATHS, "path")
    found = meant(domain, name, headings, rows, path, columns)
    mentioned |= {PurePosixPath(row.cells[path]).as_posix() for row in rows}
    seen: dict[str, int] = {}
    for one in found:
        for problem in _path_problems(domain, folder, one.what):
            domain.add_fault(one.name, problem)
        if one.what in seen:
            domain.add_fault(one.name, f"{one.what} is on line {seen[one.what]} too")
        seen.setdefault(one.what, one.line)
    return found


def _path_problems(domain: Domain, folder: Path, file: str) -> Iterator[str]:
    if not file:
        yield "no path"
    elif "\\" in file or PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        yield f"{file!r} is not a path below {domain.path}, such as pictures/one.jpg"
    elif not is_inside(folder, folder / file):
        yield f"{file} is a link to a file outside {domain.path}; copy the file in"


def meant(
    domain: Domain, name: str, headings: Sequence[str], rows: list[Row], what: str, columns: Columns
) -> list[Listed]:
    """The rows of a table that `columns` selects; `what` is the column of their paths or texts. Missing values are
    added to the domain's problems.

    Raises:
        GraftError: a column that is required or named in params.yaml is missing, or the domain is not in the table.
    """
    label = pick(headings, columns.label, LABELS, "label")
    if columns.group and columns.group not in headings:
        raise GraftError(f"no column {columns.group!r} (prepare.*_group_column); found {', '.join(headings)}")
    of_file = split_of(Path(name).stem) or TRAIN
    found: list[Listed] = []
    for row in _of_domain(headings, rows, columns.domain):
        where, kind, group = f"{domain.path}/{name}:{row.line}", row.cells.get(label, ""), row.cells.get(columns.group)
        split = split_of(row.cells.get(SPLIT, "")) if SPLIT in headings else of_file
        if not kind or any("\ud800" <= letter <= "\udfff" for letter in kind):
            domain.add_fault(where, "no label")
        if not split:
            domain.add_fault(where, f"{row.cells.get(SPLIT, '')!r} is not a split; valid: train, val, test")
        if columns.group and columns.every_group and not group:
            domain.add_fault(where, f"no {columns.group}")
        found.append(Listed(row.cells.get(what, ""), kind, split or "", group or "", where, row.line))
    return found


def pick(headings: Sequence[str], asked: str, usual: Sequence[str], what: str) -> str:
    """The column that params.yaml names, or the first with a usual name.

    Raises:
        GraftError: there is none; lists those that exist.
    """
    for name in (asked,) if asked else usual:
        if name in headings:
            return name
    wanted = repr(asked) if asked else " or ".join(usual)
    raise GraftError(f"line 1: no column for the {what} ({wanted}); found {', '.join(headings)}")


def _of_domain(headings: Sequence[str], rows: list[Row], wanted: str) -> list[Row]:
    """The rows of one domain; all rows of a table without a column `domain`.

    Raises:
        GraftError: the domain is not in the table, or there are several and none was chosen.
    """
    if DOMAIN not in headings:
        if wanted:
            raise GraftError(f"line 1: no column {DOMAIN!r}, so no domain {wanted!r}")
        return rows
    there = sorted({row.cells.get(DOMAIN, "") for row in rows})
    if wanted and wanted not in there:
        raise GraftError(f"no domain {wanted!r}; found {', '.join(there)}")
    if not wanted and len(there) > 1:
        raise GraftError(f"several domains: {', '.join(there)}; choose one with prepare.*_domain")
    return [row for row in rows if row.cells.get(DOMAIN) == wanted] if wanted else rows


def enter(
    domain: Domain,
    listed: list[Listed],
    build: Callable[[list[Listed], np.ndarray, list[str] | None], LabelledImages | LabelledTexts],
    columns: Columns,
) -> None:
    """Set a domain's classes and splits; `build` makes a split from rows, labels (N,) and groups, if any."""
    by_split: dict[str, list[Listed]] = {}
    for one in listed:
        by_split.setdefault(one.split, []).append(one)

    def built(kept: list[Listed], labels: np.ndarray) -> LabelledImages | LabelledTexts:
        return build(kept, labels, [one.group or one.name for one in kept] if columns.group else None)

    enter_listed(domain, by_split, lambda one: one.label, built)


def _pictures(
    domain: Domain, folder: Path, files: list[Listed], labels: np.ndarray, groups: list[str] | None
) -> LabelledImages:
    return file_pictures(domain.path, folder, [one.what for one in files], labels, groups)
