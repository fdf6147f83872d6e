"""Labels of the source in terms of the target's classes, matched by name."""

import torch
from torch import Tensor, nn


class SourceLabels(nn.Module):
    """An index into the source's classes -> one into the target's; -1 where the target has no such class.

    A module, so that it moves to the device with the network in whose `extras` it lies.
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
        """How often images with labels (N,) may be drawn: 0 for classes that the target lacks; None if it has all."""
        known = self(labels) >= 0
        return None if bool(known.all()) else known.float()
