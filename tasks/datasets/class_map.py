"""The class map: which source class is which target class, where their names differ."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from tasks.common.errors import GraftError
from tasks.common.places import PARAMS, RAW_DATA
from tasks.datasets.files.tables import read_table
from tasks.datasets.layouts.domain import Domain, Fault

KEY = f"{PARAMS}: prepare.class_map"


def read_class_map(project: Path, given: dict[str, str] | str) -> dict[str, str]:
    """The mapping SOURCE: TARGET of params.yaml, or of the table that it names.

    Raises:
        GraftError: the table is outside data/, cannot be read, or lists a source class twice.
    """
    if not isinstance(given, str):
        return given
    path = project / given
    if ".." in PurePosixPath(given).parts or not path.resolve().is_relative_to((project / RAW_DATA).resolve()):
        raise GraftError(f"{KEY}: {given!r} is not a table inside data/, such as 'data/classes.csv'")
    try:
        headings, rows = read_table(path)
        if not {"source", "target"} <= set(headings):
            raise GraftError(f"line 1: needs the columns source and target; found {', '.join(headings)}")
        found: dict[str, str] = {}
        for row in rows:
            if row.cells["source"] in found:
                raise GraftError(f"line {row.line}: class {row.cells['source']!r} is listed twice")
            found[row.cells["source"]] = row.cells["target"]
    except GraftError as error:
        raise GraftError([f"{KEY}: {given}: {problem}" for problem in error.problems]) from None
    return found


def rename_classes(source: Domain, names: dict[str, str], target_classes: list[str]) -> None:
    """Rename the source's classes to the target's; several may become one. An unknown name is a problem."""
    if not source.classes or not target_classes:
        return  # one of the two could not be opened, which is a problem already
    for name in sorted(names.keys() - set(source.classes)):
        source.faults.append(Fault("class", KEY, f"the source has no class {name!r}; it has {_some(source.classes)}"))
    for name in sorted(set(names.values()) - set(target_classes)):
        source.faults.append(Fault("class", KEY, f"the target has no class {name!r}; it has {_some(target_classes)}"))
    renamed = [names.get(name, name) for name in source.classes]
    classes = sorted(set(renamed)) if names else source.classes
    table = np.array([classes.index(name) for name in renamed], dtype=np.int64)
    source.classes = classes
    for split, pictures in source.splits.items():
        source.splits[split] = replace(pictures, labels=table[pictures.labels])


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
