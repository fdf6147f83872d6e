"""Shared architecture: a linear probe first, then all weights, tuned gently from there."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, cast

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from graft.contract import ParameterGroup, Strategy
from graft.data.split import Domains
from graft.networks.heads import fresh_head
from graft.networks.network import Frozen, Network
from graft.networks.stages import stages
from graft.settings import Searched
from graft.techniques.probe import probed_head, remember_head

_START = "start"
WISE = (0.25, 0.5, 0.75)
"""Shares of the tuned weights that the folds choose between, next to 1: the tuned network as it is."""


@dataclass(frozen=True)
class LpFt(Strategy):
    """Fit a linear probe, tune all weights from it, and average the result with where it began.

    From the head of a random network, the first steps distort the features before the head can use them; from a head
    that is fitted already they do not (Kumar et al. 2022, 'Fine-Tuning can Distort Pretrained Features and Underperform
    Out-of-Distribution'). Minimises the cross-entropy from there, then keeps (1 - a) theta_start + a theta_tuned: the
    average is as good on the target and forgets less (Wortsman et al. 2022, 'Robust fine-tuning of zero-shot models').
    The folds choose a among 1/4, 1/2, 3/4 and 1. It fails where the probe is near chance, since the average then keeps
    a part of it; there plain fine-tuning is better.
    """

    rate: Annotated[float, Gt(0.0), Searched(0.03, 1.0)] = 0.3
    """Learning rate of the whole network, as a multiple of the budget's: it starts near its goal."""
    layer_decay: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    """Learning rate of each stage as a multiple of that of the stage above it (nearer the head); 1: all equal."""
    wise: bool = True
    """Whether the folds may choose an average with the start."""
    source: bool = True
    """Fit the probe to source images of the target's classes too, if there are any (as `joint_probe` does)."""

    source_is_optional: ClassVar[bool] = True
    steps_see_source: ClassVar[bool] = False

    @property
    def uses_source_data(self) -> bool:
        """The knob `source`."""
        return self.source

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a head for the target's classes."""
        remember_head(source)
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit the probe, and remember where tuning starts."""
        probed_head(network, domains)
        if self.wise:
            network.extras[_START] = Frozen(nn.ModuleList([deepcopy(network.backbone), deepcopy(network.head)]))

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The head, and the stages of the backbone, each at its own rate."""
        found = stages(network.backbone)
        rates = [self.rate * self.layer_decay**above for above in range(len(found))][::-1]
        return [
            ParameterGroup(list(network.head.parameters()), self.rate),
            *(ParameterGroup(stage.parameters, rate) for stage, rate in zip(found, rates, strict=True)),
        ]

    def choices(self, network: Network) -> dict[str, Callable[[], None]]:
        """The averages of the tuned weights with the start, by the share of the tuned."""
        if (start := network.extra(_START)) is None:
            return {}
        backbone, head = cast(nn.ModuleList, start.module)
        began = _state(backbone, head)
        return {f"{share:g} tuned": partial(_average, network, began, share) for share in WISE}


def _state(backbone: nn.Module, head: nn.Module) -> dict[str, Tensor]:
    parts = {"backbone": backbone, "head": head}
    return {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}


@torch.no_grad()
def _average(network: Network, began: dict[str, Tensor], share: float) -> None:
    """Move the network's weights and running statistics towards where they began; counters stay."""
    for name, value in _state(network.backbone, network.head).items():
        if value.is_floating_point():
            value.lerp_(began[name].to(value), 1 - share)
