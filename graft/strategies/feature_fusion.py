"""Model level: one network that fuses the source's features with those of a backbone for the target."""

from dataclasses import dataclass, replace
from typing import Annotated, cast

from annotated_types import Gt, Lt

from graft.contract import ParameterGroup, Strategy
from graft.networks.composite import Fusion
from graft.networks.network import Network
from graft.settings import Searched


@dataclass(frozen=True)
class FeatureFusion(Strategy):
    """Mix the source's features with those of a fresh backbone, through learned gates.

    f = g * f_s + (1 - g) * P f_t with g = sigmoid(W [f_s; f_t] + b), one gate per feature, which depends on the image;
    P is the identity if both backbones have the same number of features (the gated multimodal unit of Arevalo et al.
    2017, 'Gated Multimodal Units for Information Fusion', with two backbones instead of two modalities). W starts at 0,
    and b such that g is `source_gate` everywhere: an untrained f_t does not swamp f_s. It fails where labels are too
    few to learn when to trust which backbone: then it is the source's features with noise added.
    """

    source_gate: Annotated[float, Gt(0.0), Lt(1.0), Searched(0.5, 0.99)] = 0.9
    """Share g of the source's features before training."""
    # Like those of its neighbours, but stated here: a default that changes reruns the trials of this strategy alone.
    tune_source: bool = True
    """Train the source's backbone too; frozen, it takes a third less time and keeps its features."""
    source_rate: Annotated[float, Gt(0.0)] = 0.3
    """Learning rate of the source's backbone, relative to the target backbone's."""
    head_rate: Annotated[float, Gt(0.0)] = 3.0
    """Learning rate of the head, relative to the target backbone's."""
    target_backbone: str = "same"
    """Name of the target's backbone; `same` is the source's architecture."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """Both backbones, the gates and a fresh head."""
        own = source.description.backbone
        name = f"fusion({own}, {own if self.target_backbone == 'same' else self.target_backbone})"
        network = Network(replace(source.description.with_classes(classes), backbone=name))
        both = cast(Fusion, network.backbone)
        both.source = source.backbone.requires_grad_(self.tune_source)
        both.open_gate(self.source_gate)
        return network

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The head; the target's backbone, the gates and the projection; if it is tuned, the source's backbone."""
        both = cast(Fusion, network.backbone)
        fresh = (both.target, both.gate, both.projection)
        groups = [
            ParameterGroup(list(network.head.parameters()), self.head_rate),
            ParameterGroup([parameter for module in fresh for parameter in module.parameters()]),
        ]
        source = ParameterGroup(list(both.source.parameters()), self.source_rate)
        return [*groups, source] if self.tune_source else groups

    def train_mode(self, network: Network) -> None:
        """A frozen backbone stays in evaluation mode: batch norm keeps the source's statistics."""
        network.train()
        cast(Fusion, network.backbone).source.train(self.tune_source)
