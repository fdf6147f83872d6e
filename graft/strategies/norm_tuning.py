"""Shared architecture: only biases and the scales of norms are trained, and the head."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from graft.contract import ParameterGroup, Strategy
from graft.data.split import Domains
from graft.networks.heads import fresh_head
from graft.networks.network import Network
from graft.networks.stages import NORMS
from graft.settings import Searched
from graft.techniques.probe import probed_head, remember_head


@dataclass(frozen=True)
class NormTuning(Strategy):
    """Fit a linear probe, then train it, all biases and the scales of all norms; every other weight stays.

    Minimises the cross-entropy over the head, the biases (Ben Zaken, Goldberg & Ravfogel 2022, 'BitFit') and the scales
    and shifts of batch, layer and group norms (Frankle, Schwab & Morcos 2021, 'Training BatchNorm and Only BatchNorm'):
    about a hundredth of the weights, which few labels can hardly overfit. It fails where the target needs new features,
    not a new weighting of the source's: then it stays behind fine-tuning, at the same cost.
    """

    rate: Annotated[float, Gt(0.0), Searched(0.1, 10.0)] = 1.0
    """Learning rate of biases and norms, as a multiple of the budget's."""
    head_rate: Annotated[float, Gt(0.0)] = 0.3
    """Learning rate of the head, as a multiple of the budget's: it starts at its optimum for the source's features."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a head for the target's classes; only what is tuned requires a gradient."""
        remember_head(source)
        source.requires_grad_(False)
        tuned = list(_tuned(source.backbone))
        if not tuned:
            raise ValueError(f"backbone {source.description.backbone} has neither norms nor biases to tune")
        for parameter in tuned:
            parameter.requires_grad_(True)
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit the probe."""
        probed_head(network, domains)

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The head; biases and norms, without weight decay, which would pull scales towards 0."""
        return [
            ParameterGroup(list(network.head.parameters()), self.head_rate),
            ParameterGroup([p for p in network.backbone.parameters() if p.requires_grad], self.rate, decay=0.0),
        ]

    def finish(self, network: Network) -> Network:
        """The network, with all weights unfrozen."""
        network.requires_grad_(True)
        return super().finish(network)


def _tuned(backbone: nn.Module) -> Iterator[nn.Parameter]:
    """The biases, and the weights of norms."""
    for module in backbone.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name.endswith("bias") or isinstance(module, (*NORMS, _BatchNorm)):
                yield parameter
