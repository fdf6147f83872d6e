"""Which images are labelled, the folds of a cross-validation, and the order of the batches."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from graft.data.label_budget import ALL, Labels, budget_fault
from graft.data.split import Split


@dataclass(frozen=True)
class LabelledTarget:
    """The target's pool, and the labels that a user pays for."""

    pool: Split
    paid: Tensor
    """(N,) the places in the pool of the images whose labels are paid for, class by class."""

    @property
    def labelled(self) -> Split:
        """The images whose labels are paid for."""
        return self.pool.take(self.paid)

    @property
    def unlabelled(self) -> Split:
        """The whole pool, without labels."""
        return self.pool.without_labels()

    def alone(self) -> "LabelledTarget":
        """The same with a pool of the paid images only."""
        return LabelledTarget(self.labelled, torch.arange(len(self.paid)))

    def without(self, held: Tensor) -> tuple[Split, Split, Split]:
        """What a fold sees: the images to train on, those held out for validation, and the pool without labels and
        without whatever belongs to those held out.

        Args:
            held: (M,) places among the paid images.
        """
        places = self.paid[held]
        free = all_but(len(self.pool), places)
        if self.pool.groups is not None:
            free &= ~torch.isin(self.pool.groups, self.pool.groups[places])
        training = all_but(len(self.paid), held)
        others = self.pool.take(free.nonzero().flatten()).without_labels()
        return self.pool.take(self.paid[training]), self.pool.take(places), others


def all_but(count: int, places: Tensor) -> Tensor:
    """(N,) bool, on the CPU: false at these places (M,)."""
    return torch.ones(count, dtype=torch.bool).index_fill(0, places.cpu(), value=False)


def draw_labels(pool: Split, labels: Labels, seed: int) -> LabelledTarget:
    """Draw a label budget from the target's training pool, the same for every strategy with the same seed.

    Budgets are nested: the images of a smaller one are a subset of those of a larger one, so that label-efficiency
    curves compare like with like.

    Args:
        pool: labelled images.
        labels: per class; `all` takes all.
        seed: of the draw.

    Raises:
        ValueError: a class has too few images.
    """
    counts = torch.bincount(pool.labels, minlength=len(pool.classes)).tolist()
    if fault := budget_fault(dict(zip(pool.classes, counts, strict=True)), labels):
        raise ValueError(fault)
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for label in range(len(pool.classes)):
        members = (pool.labels == label).nonzero().flatten()
        order = members[torch.randperm(len(members), generator=generator)]
        drawn.append(order if labels == ALL else order[:labels])
    return LabelledTarget(pool, torch.cat(drawn))


def folds(split: Split, count: int) -> list[Tensor]:
    """The places (M,) of the images that each fold of a cross-validation holds out, every image at most once.

    Stratified: the folds share out each class in the order of its images. Groups stay whole. Every class stays in every
    training part, so a class that has only one image, or one group, is never held out.

    Returns:
        At most `count` folds, none of them empty: fewer where no class has as many images, or groups; none at all
        where no class has two.
    """
    units = torch.arange(len(split)) if split.groups is None else split.groups.cpu()
    labels = split.labels.cpu()
    of_class = {label: set(units[labels == label].tolist()) for label in labels.unique().tolist()}
    fixed = {unit for found in of_class.values() if len(found) == 1 for unit in found}
    if split.groups is None:
        return _shared_out(labels, fixed, count)
    members: dict[int, list[int]] = {}
    for place, unit in enumerate(units.tolist()):
        members.setdefault(unit, []).append(place)
    held: list[list[int]] = [[] for _ in range(count)]
    seen = torch.zeros(count, int(labels.max()) + 1, dtype=torch.long)
    for unit, places in sorted(members.items(), key=lambda item: (-len(item[1]), item[1][0])):
        if unit in fixed:
            continue
        found = torch.bincount(labels[places], minlength=seen.shape[1])
        fold = min(range(count), key=lambda each: (int((seen[each] * found).sum()), len(held[each]), each))
        held[fold] += places
        seen[fold] += found
    kept = [torch.tensor(sorted(places)) for places in held if places]
    return [places for places in kept if _keeps_every_class(labels, places)]


def _shared_out(labels: Tensor, fixed: Collection[int], count: int) -> list[Tensor]:
    """Folds of single images: dealt like cards, class after class, so that their sizes differ by one at most."""
    dealt = [place for place in torch.argsort(labels, stable=True).tolist() if place not in fixed]
    return [torch.tensor(sorted(dealt[fold::count])) for fold in range(min(count, len(dealt)))]


def _keeps_every_class(labels: Tensor, held: Tensor) -> bool:
    rest = all_but(len(labels), held)
    return len(labels[rest].unique()) == len(labels.unique())


def _whole_groups(groups: Tensor, orders: list[Tensor], fraction: float) -> Tensor:
    """The validation images, all others being for training: whole groups, so that no image is lost.

    Class by class, the one with the fewest images first: groups from the end of its order, until the share of the
    class is held out; its smallest group if every group is larger than that share.
    """
    chosen: set[int] = set()
    for order in sorted(orders, key=len):
        share, sizes = _share(len(order), fraction), Counter(groups[order].flip(0).tolist())
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


def _share(count: int, fraction: float) -> int:
    """How many of a class's images are held out: at least one, and half at most."""
    return min(max(1, round(count * fraction)), count // 2)


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
