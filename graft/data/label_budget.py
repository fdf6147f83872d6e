"""How many labels a strategy may learn from, and whether a pool has pictures enough. No torch here."""

import math
from collections.abc import Mapping
from typing import Final, Literal

ALL: Final = "all"

Labels = int | Literal["all"]
"""Labels of each class to learn from: a number, 0 for none; or `all`, whatever the pool has but those to choose by."""


def by_size(labels: Labels) -> float:
    """Sorts label budgets: `all` comes after every number."""
    return math.inf if labels == ALL else labels


def read_labels(text: str) -> Labels:
    """As a command line or a key in JSON has them.

    Raises:
        ValueError: neither a number nor `all`.
    """
    return ALL if text == ALL else int(text)


def held_out(count: int, fraction: float) -> int:
    """Of so many pictures of a class, how many `all` holds out to choose by: at least one, and half at most."""
    return min(max(1, round(count * fraction)), count // 2)


def budget_fault(counts: Mapping[str, int], labels: Labels, validation: float) -> str | None:
    """What is wrong with asking so many labels of a pool, and the largest budget possible; None: nothing.

    Args:
        counts: pictures of each class.
        labels: of each class to learn from.
        validation: labels of each class to choose by, at most as many; with `all` a share of its pictures.
    """
    name, count = min(counts.items(), key=lambda item: item[1])
    if labels == ALL:
        few = f"`all` needs two pictures of every class, one to learn from and one to choose by: {name} has {count}"
        return few if count < 2 else None
    needed = labels + int(validation)
    if count >= needed:
        return None
    largest = max(count - int(validation), count // 2)  # a smaller budget than `validation` chooses by as many
    possible = (
        f"`all` takes what is there, and as a number the largest label budget possible is {largest}"
        if largest
        else "no label budget is possible"
    )
    return (
        f"{needed} labels a class are asked for ({labels} to learn from + {validation} to choose by), "
        f"the smallest class has fewer: {name} ({count}); {possible}"
    )


def nesting_fault(counts: Mapping[str, int], labels: int, fraction: float) -> str | None:
    """What keeps so many labels a class from being a part of `all`; None: nothing."""
    for name, count in counts.items():
        held = held_out(count, fraction)
        if labels > count - held:
            return (
                f"{labels} is no part of `all`, which leaves {count - held} pictures of {name} to learn from and holds "
                f"out {held} to choose by; ask for {count - held} at most, or lower finetune.validation_fraction"
            )
    return None
