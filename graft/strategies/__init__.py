"""One file is one strategy, found by its file name; `strategy_class("fine_tune")` is `FineTune` in `fine_tune.py`."""

import difflib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # who only wants the names need not wait for torch
    from graft.strategies.base import Strategy

_NOT_STRATEGIES = {"__init__", "base"}
_FOLDER = Path(__file__).parent


def strategy_names() -> list[str]:
    """Names of all strategies, sorted; nothing is imported."""
    return sorted({path.stem for path in _FOLDER.glob("[a-z]*.py") if _is_name(path.stem)} - _NOT_STRATEGIES)


def misnamed_files() -> list[str]:
    """What is wrong with files beside the strategies that can be none, because of their names."""
    return [
        f"graft/strategies/{path.name} is no strategy: its name must be lower-case letters, digits and _"
        for path in sorted(_FOLDER.glob("[!_.]*.py"))
        if not _is_name(path.stem)
    ]


def strategy_class(name: str) -> "type[Strategy]":
    """The strategy of that name.

    Raises:
        ValueError: there is none (names the valid ones), or its file cannot be used.
    """
    if name not in strategy_names():
        near = difflib.get_close_matches(name, strategy_names(), n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        said = "; ".join([f"{guess}valid: {', '.join(strategy_names())}", *misnamed_files()])
        raise ValueError(f"unknown strategy {name!r}; {said}")
    file = f"graft/strategies/{name}.py"
    try:
        module = import_module(f"{__name__}.{name}")
    except Exception as error:  # whatever a file may do
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
