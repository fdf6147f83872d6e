"""Label budgets: how many labels a strategy may train on, and whether a pool has enough images. No torch here."""

import math
from collections.abc import Mapping
from typing import Final, Literal

ALL: Final = "all"

Labels = int | Literal["all"]
"""Training labels per class: a number, 0 for none; or `all`: the whole pool except the validation labels."""


def by_size(labels: Labels) -> float:
    """Sort key of label budgets: `all` comes after every number."""
    return math.inf if labels == ALL else labels


def read_labels(text: str) -> Labels:
    """Parse a label budget from a command line or a JSON key.

    Raises:
        ValueError: neither a number nor `all`.
    """
    return ALL if text == ALL else int(text)


def held_out(count: int, fraction: float) -> int:
    """How many of a class's `count` images `all` holds out for validation: at least one, and half at most."""
    return min(max(1, round(count * fraction)), count // 2)


def budget_fault(counts: Mapping[str, int], labels: Labels, validation: float) -> str | None:
    """Why a pool cannot provide this label budget, with the largest budget possible; None if it can.

    Args:
        counts: images per class.
        labels: training labels per class.
        validation: validation labels per class, at most as many; with `all`, a share of the class's images.
    """
    name, count = min(counts.items(), key=lambda item: item[1])
    if labels == ALL:
        few = f"`all` needs two images per class, one for training and one for validation: {name} has {count}"
        return few if count < 2 else None
    needed = labels + int(validation)
    if count >= needed:
        return None
    largest = max(count - int(validation), count // 2)  # a budget below `validation` has as many validation labels
    possible = (
        f"`all` uses every image; as a number, the largest label budget possible is {largest}"
        if largest
        else "no label budget is possible"
    )
    return (
        f"{needed} labels per class are asked for ({labels} for training + {validation} for validation), "
        f"but the smallest class has fewer: {name} ({count}); {possible}"
    )


def nesting_fault(counts: Mapping[str, int], labels: int, fraction: float) -> str | None:
    """Why this many labels per class are not a subset of `all`; None if they are."""
    for name, count in counts.items():
        held = held_out(count, fraction)
        if labels > count - held:
            return (
                f"{labels} labels per class are not a subset of `all`, which trains on {count - held} images of {name} "
                f"and holds out {held} for validation; ask for at most {count - held}, or lower "
                "finetune.validation_fraction"
            )
    return None
