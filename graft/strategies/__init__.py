"""One file per strategy, found by its file name: `strategy_class("fine_tune")` is `FineTune` in `fine_tune.py`.

A project may add strategies in a folder of its own (`look_in`).
"""

import difflib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # listing the names does not load torch
    from graft.contract import Strategy

_FOLDERS = {Path(__file__).parent: "graft/strategies"}
"""Folders that are searched for strategies, in this order, with their names in messages."""


def look_in(folder: Path) -> None:
    """Add a folder, if it exists, to those that are searched for strategies."""
    if folder.is_dir() and folder.resolve() not in _FOLDERS:
        _FOLDERS[folder.resolve()] = folder.name
        __path__.append(str(folder.resolve()))


def strategy_names() -> list[str]:
    """Names of all strategies, sorted; nothing is imported."""
    return sorted(_files())


def strategy_file(name: str) -> Path:
    """The file of the strategy of that name.

    Raises:
        KeyError: there is none.
    """
    return _files()[name]


def misnamed_files() -> list[str]:
    """Messages about files in the strategy folders whose names keep them from being strategies."""
    wrong = [
        f"{said}/{path.name} is not a valid strategy file: its name must consist of lower-case letters, digits and _"
        for folder, said in _FOLDERS.items()
        for path in sorted(folder.glob("[!_.]*.py"))
        if not _is_name(path.stem)
    ]
    found = _files()
    return wrong + [
        f"{said}/{path.name} is not used: Graft has a strategy of that name; rename the file"
        for folder, said in _FOLDERS.items()
        for path in sorted(folder.glob("[a-z]*.py"))
        if found.get(path.stem, path) != path
    ]


def _files() -> dict[str, Path]:
    """The file of each strategy by name; of two with the same name, the first."""
    found = [path for folder in reversed(_FOLDERS) for path in folder.glob("[a-z]*.py")]
    return {path.stem: path for path in found if _is_name(path.stem)}


def strategy_class(name: str) -> "type[Strategy]":
    """The strategy of that name.

    Raises:
        ValueError: there is none (the message lists the valid names), or its file cannot be used.
    """
    if name not in strategy_names():
        near = difflib.get_close_matches(name, strategy_names(), n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        said = "; ".join([f"{guess}valid: {', '.join(strategy_names())}", *misnamed_files()])
        raise ValueError(f"unknown strategy {name!r}; {said}")
    file = f"{_FOLDERS[strategy_file(name).parent]}/{name}.py"
    try:
        module = import_module(f"{__name__}.{name}")
    except Exception as error:  # a user's file may raise anything
        raise ValueError(f"{file}: cannot be imported: {type(error).__name__}: {error}") from error
    wanted = "".join(word.capitalize() for word in name.split("_"))
    found: type[Strategy] | None = getattr(module, wanted, None)
    if found is None:
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        own = [kind.__name__ for kind in classes if kind.__module__ == module.__name__]
        raise ValueError(f"{file}: expected a class {wanted}, found {', '.join(own) or 'none'}")
    return found


def _is_name(stem: str) -> bool:
    return stem.isascii() and stem.isidentifier() and stem == stem.lower()
