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

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, in [0, 1]; a chunk at a time, so memory stays flat."""
        counts = torch.zeros(self.images.shape[1], 256, dtype=torch.long)
        for chunk in self.images.split(1024):
            for channel, values in enumerate(chunk.unbind(dim=1)):
                counts[channel] += torch.bincount(values.flatten().long(), minlength=256)
        levels = torch.arange(256, dtype=torch.double) / 255
        share = counts.double() / counts.sum(dim=1, keepdim=True)
        mean = (share * levels).sum(dim=1)
        variance = (share * levels**2).sum(dim=1) - mean**2
        return mean.tolist(), variance.clamp_min(0).sqrt().tolist()

    def to(self, device: torch.device) -> "Split":
        """The same pictures on another device."""
        return Split(self.images.to(device), self.labels.to(device), self.classes)
