"""Which images are labelled, and the order of the batches."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from graft.data.label_budget import ALL, Labels, budget_fault, held_out
from graft.data.split import Split


@dataclass(frozen=True)
class LabelledTarget:
    """The labels that a user pays for, split into training and validation; and the images that need no label."""

    training: Split
    validation: Split
    unlabelled: Split
    """The whole pool except the validation images, without labels."""


def draw_labels(pool: Split, labels: Labels, validation: float, seed: int) -> LabelledTarget:
    """Draw a label budget from the target's training pool, the same for every strategy with the same seed.

    Validation and training images are disjoint, with at most as many validation images as training images. Budgets are
    nested: the training images of a smaller budget are a subset of those of a larger one, so that label-efficiency
    curves compare like with like; the same holds for validation images. Where the pool has groups, no group of a
    validation image has training or unlabelled images, and budgets with different validation images are nested only as
    far as this rule allows.

    Args:
        pool: labelled images.
        labels: training labels per class; `all` takes all except the validation labels.
        validation: validation labels per class; with `all`, the share of the class's images, at least one image.
        seed: of the draw.

    Raises:
        ValueError: more validation than training labels are asked for, or a class has too few images.
    """
    if labels != ALL and validation > labels:
        raise ValueError(
            f"validation_per_class ({validation}) exceeds labels_per_class ({labels}): "
            "validation labels cost as much as training labels"
        )
    counts = torch.bincount(pool.labels, minlength=len(pool.classes)).tolist()
    if fault := budget_fault(dict(zip(pool.classes, counts, strict=True)), labels, validation):
        raise ValueError(fault)
    generator = torch.Generator().manual_seed(seed)
    orders = []
    for label in range(len(pool.classes)):
        members = (pool.labels == label).nonzero().flatten()
        orders.append(members[torch.randperm(len(members), generator=generator)])
    # Validation images come from the end of the order: growing the training budget does not move them.
    if labels != ALL:
        held = torch.cat([order[len(order) - int(validation) :] for order in orders])
    elif pool.groups is None:
        held = torch.cat([order[len(order) - held_out(len(order), validation) :] for order in orders])
    else:
        held = _whole_groups(pool.groups, orders, validation)
    free = torch.ones(len(pool), dtype=torch.bool).index_fill(0, held, value=False)
    if pool.groups is not None:
        free &= ~torch.isin(pool.groups, pool.groups[held])
    training = [order[free[order]] if labels == ALL else order[free[order]][:labels] for order in orders]
    least = 1 if labels == ALL else labels
    for name, found in zip(pool.classes, training, strict=True):
        if len(found) < least:
            raise ValueError(
                f"class {name!r} has {len(found)} training images that share no group with validation images "
                f"(seed {seed}), fewer than the {least} {'needed' if labels == ALL else 'asked for'}"
            )
    others = free.nonzero().flatten()
    return LabelledTarget(pool.take(torch.cat(training)), pool.take(held), pool.take(others).without_labels())


def _whole_groups(groups: Tensor, orders: list[Tensor], fraction: float) -> Tensor:
    """The validation images where all others are for training: whole groups, so that no image is lost.

    Class by class, the one with the fewest images first: groups from the end of its order, until the share of the
    class is held out; its smallest group if every group is larger than that share.
    """
    chosen: set[int] = set()
    for order in sorted(orders, key=len):
        share, sizes = held_out(len(order), fraction), Counter(groups[order].flip(0).tolist())
        taken = sum(size for group, size in sizes.items() if group in chosen)
        for group, size in sizes.items():
            if group not in chosen and taken + size <= share:
                chosen.add(group)
                taken += size
        if not taken:
            chosen.add(min(sizes, key=lambda group: sizes[group]))
    held = torch.isin(groups, torch.tensor(sorted(chosen), dtype=groups.dtype)).nonzero().flatten()
    if 2 * len(held) > len(groups):
        raise ValueError(
            f"the validation groups hold {len(held)} of {len(groups)} images, more than remain for training: "
            "use smaller groups, or more of them"
        )
    return held


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """(training, validation): holds out a share of each class, at least one image; with groups, whole groups and at
    most half of all images.

    Raises:
        ValueError: groups are so large that a whole class, or more than half of all images, would be held out.
    """
    generator = torch.Generator().manual_seed(seed)
    orders = []
    for label in split.labels.unique():
        members = (split.labels == label).nonzero().flatten()
        orders.append(members[torch.randperm(len(members), generator=generator)])
    if split.groups is None:
        held = torch.cat([order[: max(1, round(len(order) * fraction))] for order in orders])
    else:
        held = _whole_groups(split.groups, orders, fraction)
        for order in orders:
            if torch.isin(order, held).all():
                name = split.classes[int(split.labels[order[0]])]
                raise ValueError(f"all images of class {name!r} are in groups that are held out")
    order = torch.cat(orders)
    return split.take(order[~torch.isin(order, held)]), split.take(held)


class Batches:
    """An endless iterator over the indices (B,) of batches.

    Every image is seen once before any is seen again. A batch may run past the end of an epoch, so every batch is full,
    even if there are fewer images than B. With `weights` (N,), images are sampled with replacement, in proportion.
    """

    def __init__(self, size: int, batch_size: int, generator: torch.Generator, weights: Tensor | None = None) -> None:
        self._size, self._batch_size, self._generator = size, batch_size, generator
        self._weights = None if weights is None else weights.double()
        self._queue = torch.empty(0, dtype=torch.long)

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Tensor:
        if self._weights is not None:
            return torch.multinomial(self._weights, self._batch_size, replacement=True, generator=self._generator)
        while len(self._queue) < self._batch_size:
            self._queue = torch.cat([self._queue, torch.randperm(self._size, generator=self._generator)])
        batch, self._queue = self._queue[: self._batch_size], self._queue[self._batch_size :]
        return batch

    def state(self) -> dict[str, Tensor]:
        """The state of the order and of the generator, which others may share."""
        return {"generator": self._generator.get_state(), "queue": self._queue.clone()}

    def set_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._generator.set_state(state["generator"].cpu())
        self._queue = state["queue"].cpu()
