"""Shared architecture: the head is trained first, then one stage of the backbone after another."""

from dataclasses import dataclass
from typing import Annotated, cast

from annotated_types import Gt, Le
from torch import Tensor, nn

from graft.contract import Step, Strategy
from graft.data.split import Domains
from graft.networks.heads import fresh_head
from graft.networks.network import Network
from graft.networks.stages import Stage, keep_frozen_statistics, stages
from graft.settings import Searched


class _Ladder(nn.Module):
    """The stages, from the head down. A plain list, so that the backbone's parameters are not registered twice."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.rungs: list[Stage] = stages(backbone)[::-1]


@dataclass(frozen=True)
class GradualUnfreeze(Strategy):
    """Unfreeze the network from the head down, one stage at a time, during training.

    Of n stages, floor(n t / until) are trained at the share t of training; the others keep their weights and batch-norm
    statistics (Howard & Ruder 2018, 'Universal Language Model Fine-tuning for Text Classification'). The random head
    converges before its gradients reach the source's features. It fails when the first layers have to change most, as
    between photographs and X-rays: they are trained last, and least.
    """

    until: Annotated[float, Gt(0.0), Le(1.0), Searched(0.1, 1.0)] = 0.7
    """Share of training after which the whole network is trained."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head."""
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Find the stages."""
        network.extras["ladder"] = _Ladder(network.backbone)

    def loss(self, network: Network, step: Step) -> Tensor:
        """The loss of fine-tuning; the stages that are frozen at this step get no gradient."""
        rungs = cast(_Ladder, network.extras["ladder"]).rungs
        thawed = int(step.progress / self.until * len(rungs))
        for number, stage in enumerate(rungs):
            for parameter in stage.parameters:
                parameter.requires_grad_(number < thawed)
        keep_frozen_statistics(network.backbone)
        return super().loss(network, step)

    def finish(self, network: Network) -> Network:
        """The network, with all weights unfrozen."""
        network.requires_grad_(True)
        return super().finish(network)
