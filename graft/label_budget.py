"""Whether a pool has pictures enough for a label budget. No torch here."""

from collections.abc import Mapping


def budget_fault(counts: Mapping[str, int], labels: int, validation: int) -> str | None:
    """What is wrong with asking so many labels a class of a pool, and the largest budget possible; None: nothing.

    Args:
        counts: pictures of each class.
        labels: labels a class to learn from.
        validation: labels a class to choose by, at most as many.
    """
    name, count = min(counts.items(), key=lambda item: item[1])
    if count >= labels + validation:
        return None
    largest = max(count - validation, count // 2)  # a budget smaller than `validation` chooses by as many as it has
    possible = f"the largest label budget possible is {largest}" if largest else "no label budget is possible"
    return (
        f"{labels + validation} labels a class are asked for ({labels} to learn from + {validation} to choose by), "
        f"the smallest class has fewer: {name} ({count}); {possible}"
    )
