"""Shared architecture: the head learns first, then one stage of the body after another."""

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
    """The stages, from the head down. A plain list: they stay the backbone's own, and are not counted twice."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.rungs: list[Stage] = stages(backbone)[::-1]


@dataclass(frozen=True)
class GradualUnfreeze(Strategy):
    """Thaw the network from the head down, a stage at a time, as training goes on.

    Of n stages, floor(n t / until) learn at the share t of training; the others keep weights and batch-norm statistics
    (Howard & Ruder 2018, 'Universal Language Model Fine-tuning for Text Classification'). The random head is settled
    before its gradients reach the source's features. It fails when the first layers have to change most, as between
    photographs and X-rays: they learn last, and least.
    """

    until: Annotated[float, Gt(0.0), Le(1.0), Searched(0.1, 1.0)] = 0.7
    """Share of training after which the whole network learns."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head."""
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Find the stages."""
        network.extras["ladder"] = _Ladder(network.backbone)

    def loss(self, network: Network, step: Step) -> Tensor:
        """That of fine-tuning; no gradient reaches the stages that are frozen at this step."""
        rungs = cast(_Ladder, network.extras["ladder"]).rungs
        thawed = int(step.progress / self.until * len(rungs))
        for number, stage in enumerate(rungs):
            for parameter in stage.parameters:
                parameter.requires_grad_(number < thawed)
        keep_frozen_statistics(network.backbone)
        return super().loss(network, step)

    def finish(self, network: Network) -> Network:
        """The network, all of it thawed."""
        network.requires_grad_(True)
        return super().finish(network)
