"""One file is one strategy, found by its file name; `strategy_class("fine_tune")` is `FineTune` in `fine_tune.py`."""

import difflib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # who only wants the names need not wait for torch
    from graft.strategies.base import Strategy

_NOT_STRATEGIES = {"__init__", "base"}


def strategy_names() -> list[str]:
    """Names of all strategies, sorted; nothing is imported."""
    return sorted({path.stem for path in Path(__file__).parent.glob("[a-z]*.py")} - _NOT_STRATEGIES)


def strategy_class(name: str) -> "type[Strategy]":
    """The strategy of that name.

    Raises:
        ValueError: there is none; names the valid ones.
    """
    if name not in strategy_names():
        near = difflib.get_close_matches(name, strategy_names(), n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown strategy {name!r}; {guess}valid: {', '.join(strategy_names())}")
    module = import_module(f"{__name__}.{name}")
    found: type[Strategy] = getattr(module, "".join(word.capitalize() for word in name.split("_")))
    return found
