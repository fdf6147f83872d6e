"""Shared architecture: every weight starts at the source's and moves."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt

from graft.heads import fresh_head, matched_head
from graft.network import Network
from graft.strategies.base import ParameterGroup, Strategy


@dataclass(frozen=True)
class FineTune(Strategy):
    """Start from the source's weights and train all of them on the target.

    Features move as far as the target's few labels ask for (Yosinski et al. 2014, 'How transferable are features in
    deep neural networks?'; a slower body: Howard & Ruder 2018). It fails when labels are so few that the backbone
    overfits them and forgets the source; then a smaller `backbone_rate` helps.
    """

    backbone_rate: Annotated[float, Gt(0.0)] = 1.0
    """Learning rate of the backbone, relative to the head's."""
    head: Literal["fresh", "matched"] = "fresh"
    """Start the head anew, or from the source's weights for classes of the same name. A matched head is ahead at one
    label a class and behind later: it starts out sure of the source's confusions."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a head for the target's classes."""
        (matched_head if self.head == "matched" else fresh_head)(source, classes)
        return source

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The head, and the backbone at its own rate."""
        return [
            ParameterGroup(list(network.head.parameters())),
            ParameterGroup(list(network.backbone.parameters()), self.backbone_rate),
        ]
