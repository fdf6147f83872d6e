"""Labelled pictures of one domain, as they lie in memory.

Legend: N pictures, C channels, H W height and width, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Pictures with their labels.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64, an index into `classes`.
        classes: the names of the K classes.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> "Split":
        """The pictures at `indices` (M,), in that order."""
        return Split(self.images[indices], self.labels[indices], self.classes)

    def to(self, device: torch.device) -> "Split":
        """The same pictures on another device."""
        return Split(self.images.to(device), self.labels.to(device), self.classes)
