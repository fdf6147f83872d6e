"""Heads for new classes, fresh or with the old head's weights for the classes that they share."""

from collections.abc import Sequence

import torch
from torch import nn

from graft.networks.network import Network


def fresh_head(network: Network, classes: tuple[str, ...]) -> None:
    """Replace the network's head by a new one for `classes`, with torch's default initialisation."""
    network.set_head(nn.Linear(network.feature_size, len(classes)), classes)


def matched_head(network: Network, classes: tuple[str, ...]) -> None:
    """Replace the network's head by one for `classes`; classes of the same name keep the old head's weights."""
    old, known = network.head, network.description.classes
    head = nn.Linear(network.feature_size, len(classes))
    with torch.no_grad():
        for row, name in enumerate(classes):
            if name in known:
                head.weight[row] = old.weight[known.index(name)]
                head.bias[row] = old.bias[known.index(name)]
    network.set_head(head, classes)


def some_of(names: Sequence[str], most: int = 12) -> str:
    """The names; of a long list, the first ones and the number of the rest."""
    more = len(names) - most
    return ", ".join(names if more <= 0 else [*names[:most], f"… and {more:,} more"])


def require_known_classes(network: Network, classes: tuple[str, ...], why: str) -> None:
    """Check that the network's head has all target classes.

    Raises:
        ValueError: some are missing; the message begins with `why`, the reason for which the head is needed.
    """
    known = network.description.classes
    if unknown := [name for name in classes if name not in known]:
        raise ValueError(
            f"{why}, which lacks these target classes: {some_of(unknown)} (the source has: {some_of(known)})"
        )
