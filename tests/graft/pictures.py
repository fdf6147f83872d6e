"""Tiny domains that a network can learn in a second: bars whose position is the class."""

import torch

from graft.data.split import Split
from graft.networks.network import Description, Network
from graft.strategies import strategy_class, strategy_names

CLASSES = ("left", "middle", "right")

FOR_PICTURES = [name for name in strategy_names() if not strategy_class(name)().text_bytes]
"""The strategies that do not serve texts alone."""


def bars(n: int = 90, *, seed: int = 0, size: int = 8, classes: tuple[str, ...] = CLASSES, noise: int = 60) -> Split:
    """`n` images, balanced: a bright vertical bar at one of three positions, over uniform noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % len(classes)
    images = torch.randint(0, noise + 1, (n, 1, size, size), generator=generator, dtype=torch.uint8)
    for image, label in zip(images, labels, strict=True):
        column = 1 + int(label) * (size - 2) // len(classes)
        image[0, :, column : column + 2] += 150
    return Split(images, labels, classes)


def tiny_network(classes: tuple[str, ...] = CLASSES, *, seed: int = 0, channels: int = 1, size: int = 8) -> Network:
    """A freshly initialised convnet_tiny."""
    torch.manual_seed(seed)
    return Network(Description("convnet_tiny", classes, channels, size))
