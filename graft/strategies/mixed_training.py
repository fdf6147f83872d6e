"""Model level: source and target pictures train one network together."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le
from torch import Tensor

from graft.heads import matched_head
from graft.network import Network
from graft.strategies.base import Step, Strategy


@dataclass(frozen=True)
class MixedTraining(Strategy):
    """Train on batches of source and target pictures, the source's share falling as training goes on.

    Minimises (1 - s) L_target + s L_source over shared features, with s falling linearly from `source_share` to
    `final_source_share` (Ben-David et al. 2010 bound the error of such convex combinations, section 5). The source's
    labels keep the network from overfitting the target's few. One head serves both domains when
    their classes are the same; otherwise each has its own. It fails when the domains are far apart and a single set of
    features cannot serve both.
    """

    source_share: Annotated[float, Ge(0.0), Le(1.0)] = 0.5
    """Weight s of the source's loss at the first step."""
    final_source_share: Annotated[float, Ge(0.0), Le(1.0)] = 0.0
    """Weight s of the source's loss at the last step."""
    start: Literal["source", "random"] = "source"
    """Start from the pretrained weights, or from random ones."""

    @property
    def uses_source_data(self) -> bool:
        """Yes."""
        return True

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network, or a new one like it; with a second head where the classes differ."""
        network = source if self.start == "source" else Network(source.description)
        if classes != source.description.classes:
            network.extras["source_head"] = network.head
            matched_head(network, classes)
        return network

    def loss(self, network: Network, step: Step) -> Tensor:
        """Target and source pictures pass apart, so that batch norm sees one domain at a time."""
        share = self.source_share + (self.final_source_share - self.source_share) * step.progress
        source_head = network.extra("source_head") or network.head
        target_loss = step.target.cross_entropy(network(step.target.images))
        source_loss = step.source.cross_entropy(source_head(network.features(step.source.images)))
        return (1 - share) * target_loss + share * source_loss
