"""How many labels a strategy may learn from, and whether a pool has images enough. No torch here."""

import math
from collections.abc import Mapping
from typing import Final, Literal

ALL: Final = "all"

Labels = int | Literal["all"]
"""Labels of each class to learn from: a number, 0 for none; or `all`, whatever the pool has but those for
validation."""


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
    """Of so many images of a class, how many `all` holds out for validation: at least one, and half at most."""
    return min(max(1, round(count * fraction)), count // 2)


def budget_fault(counts: Mapping[str, int], labels: Labels, validation: float) -> str | None:
    """What is wrong with asking so many labels of a pool, and the largest budget possible; None: nothing.

    Args:
        counts: images of each class.
        labels: of each class to learn from.
        validation: validation labels of each class, at most as many; with `all` a share of its images.
    """
    name, count = min(counts.items(), key=lambda item: item[1])
    if labels == ALL:
        few = f"`all` needs two images of every class, one to learn from and one for validation: {name} has {count}"
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
        f"{needed} labels per class are asked for ({labels} to learn from + {validation} for validation), "
        f"the smallest class has fewer: {name} ({count}); {possible}"
    )


def nesting_fault(counts: Mapping[str, int], labels: int, fraction: float) -> str | None:
    """What keeps so many labels per class from being a part of `all`; None: nothing."""
    for name, count in counts.items():
        held = held_out(count, fraction)
        if labels > count - held:
            return (
                f"{labels} is no part of `all`, which leaves {count - held} images of {name} to learn from and holds "
                f"out {held} for validation; ask for {count - held} at most, or lower finetune.validation_fraction"
            )
    return None
