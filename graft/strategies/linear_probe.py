"""Shared architecture: a new head on frozen features."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from graft.heads import fresh_head
from graft.network import Network
from graft.strategies.base import ParameterGroup, Strategy


@dataclass(frozen=True)
class LinearProbe(Strategy):
    """Freeze the source's backbone and train a new linear head on its features.

    Minimises the cross-entropy of W f(x) + b over W and b with f fixed (Alain & Bengio 2016, 'Understanding
    intermediate layers using linear classifier probes'). Cheap, and hard to overfit. It fails when the source's
    features miss what separates the target's classes: then it falls below training from scratch.
    """

    head_rate: Annotated[float, Gt(0.0)] = 3.0
    """Learning rate of the head, relative to the budget's: a linear layer bears, and needs, larger steps."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network, frozen, with a fresh head."""
        source.requires_grad_(False)
        fresh_head(source, classes)
        return source

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The head alone."""
        return [ParameterGroup(list(network.head.parameters()), self.head_rate)]

    def train_mode(self, network: Network) -> None:
        """Evaluation mode throughout: batch norm keeps the source's statistics."""
        network.eval()
