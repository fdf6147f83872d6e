"""Tiny texts that a network can learn in a second: one token is the class, the others are random."""

import torch

from graft.data.inputs import PADDING
from graft.data.split import Split
from graft.networks.network import Description, Network

CLASSES = ("calm", "loud")
VOCABULARY, LENGTH = 20, 8


def texts(n: int = 60, *, seed: int = 0) -> Split:
    """`n` texts, balanced: token 1 or 2 at a random position among other tokens; of several lengths."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % len(CLASSES)
    tokens = torch.randint(3, VOCABULARY, (n, LENGTH), generator=generator, dtype=torch.int32)
    lengths = torch.randint(4, LENGTH + 1, (n,), generator=generator)
    tokens[torch.arange(LENGTH) >= lengths[:, None]] = PADDING
    places = (torch.rand(n, generator=generator) * lengths).long()
    tokens[torch.arange(n), places] = (labels + 1).int()
    return Split(tokens, labels, CLASSES, vocabulary=VOCABULARY)


def text_network(backbone: str = "text_bag", *, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> Network:
    """A freshly initialised network for them."""
    torch.manual_seed(seed)
    return Network(Description(backbone, classes, vocabulary=VOCABULARY, length=LENGTH))
