"""Model level: two backbones in parallel, the source's and one for the target, under one head."""

from dataclasses import dataclass, replace
from typing import Annotated, cast

from annotated_types import Gt, Le

from graft.contract import ParameterGroup, Strategy
from graft.networks.composite import Concat
from graft.networks.network import Network
from graft.settings import Searched


@dataclass(frozen=True)
class FeatureConcat(Strategy):
    """Concatenate the source's features with those of a fresh backbone, and train a head on both.

    Logits are W [f_s(x); c f_t(x)] + b, with f_s the source's backbone, f_t one that starts from random weights and
    trains only on the target, both scaled to root mean square 1, and c < 1 (Wang, Ramanan & Hebert 2017, 'Growing a
    Brain: Fine-Tuning by Increasing Model Capacity'; Rusu et al. 2016, 'Progressive Neural Networks', freeze f_s). With
    few labels, random features fit the labels as well as the source's do but do not generalise: with a small c the head
    relies on the source first, and the fresh backbone contributes later. It fails where the source's features suffice:
    then it is fine-tuning at twice the cost.
    """

    target_scale: Annotated[float, Gt(0.0), Le(1.0), Searched(0.03, 1.0)] = 0.3
    """Scale c of the target backbone's features, relative to the source's."""
    # Like those of its neighbours, but stated here: a default that changes reruns the trials of this strategy alone.
    tune_source: bool = True
    """Train the source's backbone too; frozen, it takes a third less time and keeps its features."""
    source_rate: Annotated[float, Gt(0.0)] = 0.3
    """Learning rate of the source's backbone, relative to the target backbone's."""
    head_rate: Annotated[float, Gt(0.0)] = 3.0
    """Learning rate of the head, relative to the target backbone's: features of unit scale need larger weights."""
    target_backbone: str = "same"
    """Name of the target's backbone; `same` is the source's architecture."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """Both backbones under a fresh head."""
        own = source.description.backbone
        name = f"concat({own}, {own if self.target_backbone == 'same' else self.target_backbone})"
        network = Network(replace(source.description.with_classes(classes), backbone=name))
        both = cast(Concat, network.backbone)
        both.source = source.backbone.requires_grad_(self.tune_source)
        both.target_scale.fill_(self.target_scale)
        return network

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The head, the target's backbone and, if it is tuned, the source's."""
        both = cast(Concat, network.backbone)
        groups = [
            ParameterGroup(list(network.head.parameters()), self.head_rate),
            ParameterGroup(list(both.target.parameters())),
        ]
        source = ParameterGroup(list(both.source.parameters()), self.source_rate)
        return [*groups, source] if self.tune_source else groups

    def train_mode(self, network: Network) -> None:
        """A frozen backbone stays in evaluation mode: batch norm keeps the source's statistics."""
        network.train()
        cast(Concat, network.backbone).source.train(self.tune_source)
