"""Label budgets: how many labels a strategy pays for, and whether a pool has enough images. No torch here."""

import math
from collections.abc import Mapping
from typing import Final, Literal

ALL: Final = "all"

Labels = int | Literal["all"]
"""Labels per class that are paid for, to learn from and to choose by: a number, 0 for none; or `all` of the pool."""


def by_size(labels: Labels) -> float:
    """Sort key of label budgets: `all` comes after every number."""
    return math.inf if labels == ALL else labels


def read_labels(text: str) -> Labels:
    """Parse a label budget from a command line or a JSON key.

    Raises:
        ValueError: neither a number nor `all`.
    """
    return ALL if text == ALL else int(text)


def budget_fault(counts: Mapping[str, int], labels: Labels) -> str | None:
    """Why a pool with so many images per class cannot provide this label budget, with the largest one possible; None if
    it can."""
    name, count = min(counts.items(), key=lambda item: item[1])
    if labels == ALL:
        few = f"`all` needs two images per class, so that the folds can test on one: {name} has {count}"
        return few if count < 2 else None
    if count >= labels:
        return None
    possible = f"as a number, the largest label budget possible is {count}" if count else "no label budget is possible"
    possible = f"`all` uses every image; {possible}" if count >= 2 else possible
    return f"{labels} labels per class are asked for, and class {name} has {count}; {possible}"
