"""Shared architecture: every weight starts at the source's and moves."""

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

    Features move as far as the target's few labels ask for (Yosinski et al. 2014, 'How transferable are features in
    deep neural networks?'). Stage l of L learns at rate x backbone_rate x layer_decay^(L - l): a slower body, slower
    still next to the image (Howard & Ruder 2018, 'Universal Language Model Fine-tuning for Text Classification'). It
    fails when labels are so few that the backbone overfits them and forgets the source; then smaller rates help.
    """

    backbone_rate: Annotated[float, Gt(0.0), Searched(0.01, 1.0)] = 1.0
    """Learning rate of the backbone, relative to the head's."""
    layer_decay: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    """Each stage nearer the image learns at this multiple of the next one's rate; 1 lets all learn alike."""
    head: Literal["fresh", "matched", "probe"] = "fresh"
    """Start the head again; from the source's weights for classes of the same name; or from a linear probe, so that no
    gradient of a random head reaches the features (Kumar et al. 2022, 'Fine-Tuning can Distort Pretrained Features'). A
    matched head is ahead at one label per class and behind later: it starts out sure of the source's confusions."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a head for the target's classes."""
        if self.head == "probe":
            remember_head(source)
        (matched_head if self.head == "matched" else fresh_head)(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit the head, if that is asked for."""
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
