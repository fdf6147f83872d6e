"""Shared architecture: all weights start at the source's and are trained."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Le

from graft.contract import ParameterGroup, Strategy
from graft.data.split import Domains
from graft.networks.heads import fresh_head, matched_head
from graft.networks.network import Network
from graft.networks.stages import stages
from graft.settings import Searched
from graft.techniques.probe import probed_head, remember_head


@dataclass(frozen=True)
class FineTune(Strategy):
    """Start from the source's weights and train all of them on the target.

    All features adapt to the target's few labels (Yosinski et al. 2014, 'How transferable are features in deep neural
    networks?'). Stage l of L has the learning rate rate x backbone_rate x layer_decay^(L - l): lower for the backbone,
    and lowest for the stages closest to the input (Howard & Ruder 2018, 'Universal Language Model Fine-tuning for Text
    Classification'). It fails when labels are so few that the backbone overfits them and forgets the source; then
    smaller rates help.
    """

    backbone_rate: Annotated[float, Gt(0.0), Searched(0.01, 1.0)] = 1.0
    """Learning rate of the backbone, relative to the head's."""
    layer_decay: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    """Learning rate of each stage as a multiple of that of the stage above it (nearer the head); 1: all equal."""
    head: Literal["fresh", "matched", "probe"] = "fresh"
    """Start the head from random weights; from the source's weights for classes of the same name; or from a linear
    probe, so that no gradient of a random head reaches the features (Kumar et al. 2022, 'Fine-Tuning can Distort
    Pretrained Features'). A matched head is better at one label per class and worse with more: it starts out confident
    of the source's confusions."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a head for the target's classes."""
        if self.head == "probe":
            remember_head(source)
        (matched_head if self.head == "matched" else fresh_head)(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit a linear probe as the head, if `head` is `probe`."""
        if self.head == "probe":
            probed_head(network, domains)

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The head, and the stages of the backbone, each at its own rate."""
        found = stages(network.backbone)
        rates = [self.backbone_rate * self.layer_decay**above for above in range(len(found))][::-1]
        return [
            ParameterGroup(list(network.head.parameters())),
            *(ParameterGroup(stage.parameters, rate) for stage, rate in zip(found, rates, strict=True)),
        ]
