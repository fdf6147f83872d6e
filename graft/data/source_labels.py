"""Source labels mapped to the target's classes, matched by name."""

import torch
from torch import Tensor, nn


class SourceLabels(nn.Module):
    """Maps an index into the source's classes to one into the target's; -1 if the target has no such class.

    A module, so that it moves between devices with the network that holds it in its `extras`.
    """

    index: Tensor

    def __init__(self, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        super().__init__()
        known = {name: label for label, name in enumerate(target)}
        self.register_buffer("index", torch.tensor([known.get(name, -1) for name in source]))

    def forward(self, labels: Tensor) -> Tensor:
        """Translate labels (N,)."""
        return self.index[labels]

    def weights(self, labels: Tensor) -> Tensor | None:
        """Sampling weights of images with labels (N,): 0 for classes that the target lacks; None if it has all."""
        known = self(labels) >= 0
        return None if bool(known.all()) else known.float()
