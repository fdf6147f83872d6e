"""Images or texts of a domain, in memory or on disk, and the domains that a training run may see.

Legend: N images or texts, C channels, H W height and width, L tokens, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graft.data.inputs import Input, Pictures, Text
from graft.data.on_disk import Images, taken

_CHUNK = 2**23
"""Number of values counted at a time."""


@dataclass(frozen=True)
class Split:
    """Images, or texts, with their labels.

    Attributes:
        images: (N, C, H, W) uint8, a tensor or, if too large for memory, on disk; texts as tokens (N, L) int32; or
            features (N, D) float, computed once from either.
        labels: (N,) int64, an index into `classes`; -1 where labels must stay hidden.
        classes: the names of the K classes.
        groups: (N,) int64, the group of each image (a patient, a video), if there are groups: training and validation
            images share none.
        vocabulary: number of tokens, for texts; 0 for images.
    """

    images: Images
    labels: Tensor
    classes: tuple[str, ...]
    groups: Tensor | None = None
    vocabulary: int = 0

    @property
    def reads(self) -> Input:
        """The input that a network for this split has to accept."""
        if self.vocabulary:
            return Text(self.vocabulary, self.images.shape[1])
        return Pictures(self.images.shape[1], self.images.shape[2])

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> "Split":
        """The images at `indices` (M,), in that order."""
        groups = None if self.groups is None else self.groups[indices]
        return replace(self, images=taken(self.images, indices), labels=self.labels[indices], groups=groups)

    def without_labels(self) -> "Split":
        """The same images; every label is -1, so that a loss that uses labels fails."""
        return replace(self, labels=torch.full_like(self.labels, -1))

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel, in [0, 1]; computed in chunks, so memory use stays constant."""
        counts = torch.zeros(self.images.shape[1], 256, dtype=torch.long)
        for chunk in self.images.split(max(1, _CHUNK // self.images.shape[1:].numel())):
            for channel, values in enumerate(chunk.unbind(dim=1)):
                counts[channel] += torch.bincount(values.flatten(), minlength=256)
        levels = torch.arange(256, dtype=torch.double) / 255
        share = counts.double() / counts.sum(dim=1, keepdim=True)
        mean = (share * levels).sum(dim=1)
        variance = (share * levels**2).sum(dim=1) - mean**2
        return mean.tolist(), variance.clamp_min(0).sqrt().tolist()

    def to(self, device: torch.device) -> "Split":
        """The same images on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class Domains:
    """All data that a training run may see; never the target's test split."""

    target: Split
    """Labelled training images of the target domain; without labels for a strategy that uses none."""
    validation: Split | None = None
    """Labelled validation images of the target domain; None where all labels are learned from."""
    source: Split | None = None
    """Labelled images of the source domain."""
    unlabelled: Split | None = None
    """Further images of the target domain, without labels."""

    def to(self, device: torch.device) -> "Domains":
        """The same images on another device."""
        return self.map(lambda split: split.to(device))

    def map(self, change: Callable[[Split], Split]) -> "Domains":
        """The same domains, with `change` applied to each split."""
        return Domains(
            change(self.target),
            change(self.validation) if self.validation else None,
            change(self.source) if self.source else None,
            change(self.unlabelled) if self.unlabelled else None,
        )
