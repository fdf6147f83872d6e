"""Which images are labelled, and in which order they are seen."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from graft.data.label_budget import ALL, Labels, budget_fault, held_out
from graft.data.split import Split


@dataclass(frozen=True)
class LabelledTarget:
    """The labels that a user pays for: those to train on, and those for validation; and the images that cost none."""

    training: Split
    validation: Split
    unlabelled: Split
    """The whole pool but the validation images, without labels."""


def draw_labels(pool: Split, labels: Labels, validation: float, seed: int) -> LabelledTarget:
    """Draw a label budget from the target's training pool, the same for every strategy of a seed.

    Validation images are drawn apart from the training ones and are at most as many. The training images of a
    smaller budget are among those of a larger one, so that label-efficiency curves compare like with like; so are those
    for validation, where they are fewer. Where the pool has groups, none of a validation image's is among the training
    or the unlabelled images, and budgets that choose by other images are parts of one another only as far as that
    leaves them.

    Args:
        pool: labelled images.
        labels: of each class to learn from; `all` takes all but those for validation.
        validation: validation labels of each class; with `all` the share of its images, one at least.
        seed: of the draw.

    Raises:
        ValueError: more validation than training labels are asked for, or a class has too few images.
    """
    if labels != ALL and validation > labels:
        raise ValueError(
            f"validation_per_class ({validation}) exceeds labels_per_class ({labels}): "
            "validation labels cost as much as labels to learn from"
        )
    counts = torch.bincount(pool.labels, minlength=len(pool.classes)).tolist()
    if fault := budget_fault(dict(zip(pool.classes, counts, strict=True)), labels, validation):
        raise ValueError(fault)
    generator = torch.Generator().manual_seed(seed)
    orders = []
    for label in range(len(pool.classes)):
        members = (pool.labels == label).nonzero().flatten()
        orders.append(members[torch.randperm(len(members), generator=generator)])
    # Validation is taken from the far end: growing the training budget does not move it.
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
                f"class {name!r} has {len(found)} images to learn from that share no group with those for validation "
                f"(seed {seed}), fewer than the {least} {'needed' if labels == ALL else 'asked for'}"
            )
    others = free.nonzero().flatten()
    return LabelledTarget(pool.take(torch.cat(training)), pool.take(held), pool.take(others).without_labels())


def _whole_groups(groups: Tensor, orders: list[Tensor], fraction: float) -> Tensor:
    """The images for validation where all others are to be learned from: whole groups, so that none is lost.

    Class by class, the one with the fewest images first: groups from the far end of its order, as long as the class
    has no more images held out than its share; its smallest group where every one is larger than that.
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
            f"the groups for validation hold {len(held)} of {len(groups)} images, more than there are to learn from: "
            "smaller groups are needed, or more of them"
        )
    return held


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """(training, validation): a share of each class, at least one image of it, is held out; of groups whole ones, and
    half of all images at most.

    Raises:
        ValueError: groups are so large that a class, or half of all, would be held out.
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
                raise ValueError(f"all images of class {name!r} are in the groups that are held out")
    order = torch.cat(orders)
    return split.take(order[~torch.isin(order, held)]), split.take(held)


class Batches:
    """Indices (B,) of one batch after another, without end.

    Every image is seen once before any is seen again. A batch may run over the end of a pass, so every batch is full,
    even where there are fewer images than B. With `weights` (N,) images are drawn with replacement, in proportion.
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
        """Where the order stands; whatever else draws from the generator goes on from here too."""
        return {"generator": self._generator.get_state(), "queue": self._queue.clone()}

    def set_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._generator.set_state(state["generator"].cpu())
        self._queue = state["queue"].cpu()
