"""Which pictures are labelled, and in which order they are seen."""

from dataclasses import dataclass

import torch
from torch import Tensor

from graft.label_budget import budget_fault
from graft.split import Split


@dataclass(frozen=True)
class LabelledTarget:
    """The labels that a user pays for: those to train on, and those to choose by; and the pictures that cost none."""

    training: Split
    validation: Split
    unlabelled: Split
    """The whole pool but the validation pictures, without labels."""


def draw_labels(pool: Split, labels_per_class: int, validation_per_class: int, seed: int) -> LabelledTarget:
    """Draw a label budget from the target's training pool, the same for every strategy of a seed.

    Validation pictures are drawn apart from the training ones and are at most as many. The training pictures of a
    smaller budget are among those of a larger one, so that label-efficiency curves compare like with like. Where the
    pool has groups, none of a validation picture's is among the training or the unlabelled pictures.

    Raises:
        ValueError: more validation than training labels are asked for, or a class has too few pictures.
    """
    if validation_per_class > labels_per_class:
        raise ValueError(
            f"validation_per_class ({validation_per_class}) exceeds labels_per_class ({labels_per_class}): "
            "labels to choose by cost as much as labels to learn from"
        )
    counts = torch.bincount(pool.labels, minlength=len(pool.classes)).tolist()
    if fault := budget_fault(dict(zip(pool.classes, counts, strict=True)), labels_per_class, validation_per_class):
        raise ValueError(fault)
    generator = torch.Generator().manual_seed(seed)
    orders = []
    for label in range(len(pool.classes)):
        members = (pool.labels == label).nonzero().flatten()
        orders.append(members[torch.randperm(len(members), generator=generator)])
    # Validation is taken from the far end: growing the training budget does not move it.
    held = torch.cat([order[len(order) - validation_per_class :] for order in orders])
    free = torch.ones(len(pool), dtype=torch.bool).index_fill(0, held, value=False)
    if pool.groups is not None:
        free &= ~torch.isin(pool.groups, pool.groups[held])
    training = [order[free[order]][:labels_per_class] for order in orders]
    for name, found in zip(pool.classes, training, strict=True):
        if len(found) < labels_per_class:
            raise ValueError(
                f"class {name!r} has {len(found)} pictures to learn from that share no group with those to choose by "
                f"(seed {seed}), fewer than the {labels_per_class} asked for"
            )
    others = free.nonzero().flatten()
    return LabelledTarget(pool.take(torch.cat(training)), pool.take(held), pool.take(others).without_labels())


def hold_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """(training, validation): a share of each class, at least one picture of it, is held out."""
    generator = torch.Generator().manual_seed(seed)
    kept, held = [], []
    for label in split.labels.unique():
        members = (split.labels == label).nonzero().flatten()
        order = members[torch.randperm(len(members), generator=generator)]
        cut = max(1, round(len(order) * fraction))
        held.append(order[:cut])
        kept.append(order[cut:])
    return split.take(torch.cat(kept)), split.take(torch.cat(held))


class Batches:
    """Indices (B,) of one batch after another, without end.

    Every picture is seen once before any is seen again. A batch may run over the end of a pass, so every batch is full,
    even where there are fewer pictures than B. With `weights` (N,) pictures are drawn with replacement, in proportion.
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
