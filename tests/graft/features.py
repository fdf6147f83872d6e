"""Features of made-up domains, for strategies with a frozen backbone."""

import torch

from graft.data.split import Split
from tests.graft.pictures import CLASSES, tiny_network

SIZE = tiny_network().feature_size


def clouds(counts: list[int], *, seed: int, size: int = SIZE) -> Split:
    """Features of classes that are thin, long clouds: a few points say little of their shape, many say all."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(3, size, generator=torch.Generator().manual_seed(9)) * 0.25
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    return Split(centres[labels] + torch.randn(len(labels), size, generator=generator) * 0.5, labels, CLASSES)
