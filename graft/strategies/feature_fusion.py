"""Model level: one network that fuses the source's features with those of a body for the target."""

from dataclasses import dataclass, replace
from typing import Annotated, cast

from annotated_types import Gt, Lt

from graft.contract import ParameterGroup, Strategy
from graft.networks.composite import Fusion
from graft.networks.network import Network
from graft.settings import Searched


@dataclass(frozen=True)
class FeatureFusion(Strategy):
    """Mix the source's features with those of a fresh body, through gates that are learned.

    f = g * f_s + (1 - g) * P f_t with g = sigmoid(W [f_s; f_t] + b), a gate for each feature that depends on the
    image; P is the identity where both bodies have as many features (the gated multimodal unit of Arevalo et al.
    2017, 'Gated Multimodal Units for Information Fusion', with two bodies for two senses). W starts at 0, and b such
    that g is `source_gate` everywhere: an untrained f_t does not drown f_s. It fails where labels are too few to learn
    from them when to trust which body: then it is the source's features with noise added.
    """

    source_gate: Annotated[float, Gt(0.0), Lt(1.0), Searched(0.5, 0.99)] = 0.9
    """Share g of the source's features before training."""
    tune_source: bool = True
    """Train the source's body too; frozen, it costs a third less time and keeps what it knows."""
    source_rate: Annotated[float, Gt(0.0)] = 0.3
    """Learning rate of the source's body, relative to the target body's."""
    head_rate: Annotated[float, Gt(0.0)] = 3.0
    """Learning rate of the head, relative to the target body's."""
    target_backbone: str = "same"
    """Name of the body for the target; `same` is the source's architecture."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """Both bodies, the gates and a fresh head."""
        own = source.description.backbone
        name = f"fusion({own}, {own if self.target_backbone == 'same' else self.target_backbone})"
        network = Network(replace(source.description.with_classes(classes), backbone=name))
        both = cast(Fusion, network.backbone)
        both.source = source.backbone.requires_grad_(self.tune_source)
        both.open_gate(self.source_gate)
        return network

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The head; the target's body, the gates and the projection; if it is tuned, the source's body."""
        both = cast(Fusion, network.backbone)
        fresh = (both.target, both.gate, both.projection)
        groups = [
            ParameterGroup(list(network.head.parameters()), self.head_rate),
            ParameterGroup([parameter for module in fresh for parameter in module.parameters()]),
        ]
        source = ParameterGroup(list(both.source.parameters()), self.source_rate)
        return [*groups, source] if self.tune_source else groups

    def train_mode(self, network: Network) -> None:
        """A frozen body stays in evaluation mode: batch norm keeps the source's statistics."""
        network.train()
        cast(Fusion, network.backbone).source.train(self.tune_source)
