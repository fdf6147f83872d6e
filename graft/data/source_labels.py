"""Source labels mapped to the target's classes, matched by name."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from graft.data.split import Split


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


def of_shared_classes(source: Split | None, classes: tuple[str, ...], most: int) -> Split | None:
    """The source's images or texts, or their features, of the target's `classes`, with labels as the target numbers
    them; of more than `most`, that many, evenly from all. None if there are none."""
    if source is None:
        return None
    labels = SourceLabels(source.classes, classes).to(source.labels.device)(source.labels)
    known = (labels >= 0).nonzero().flatten()
    if not len(known):
        return None
    known = known[torch.linspace(0, len(known) - 1, min(len(known), most)).round().long()]
    return replace(source.take(known), labels=labels[known], classes=classes)
