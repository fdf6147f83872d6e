"""Against forgetting and overfitting: what the network computes stays near what the source's network computes.

Legend: N pictures, B batch, C channels of a feature map, D features, K classes.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from graft.heads import fresh_head
from graft.network import Frozen, Network, predict
from graft.regularisers import features_and_maps, half_square, mean_by_channel
from graft.settings import Searched
from graft.split import Domains, Split
from graft.stages import stages
from graft.strategies.base import ParameterGroup, Step, Strategy

_CHUNK = 64
_PROBE_DECAY = 0.01
"""Keeps the probe from fitting few labels to a loss of zero, where every channel would seem to be worth nothing."""
_SHARPNESS = 0.2
"""The authors': attention is softmax(z / 5) of standardised worths z."""


@dataclass(frozen=True)
class Delta(Strategy):
    """Fine-tune with a penalty on the distance of the feature maps from the source's, channel by channel.

    Minimises L + alpha * mean over stages of (sum_c a_c d_c / sum_c a_c s_c) + beta/2 ||v||^2: d_c is the mean square
    of the difference between the network's and the frozen source network's map in channel c of the stage's output,
    s_c the mean square of the source's map, a_c the channel's attention, v the head (Li, Xiong, Wang, Rao, Liu, Chen
    & Huan 2019, 'DELTA: DEep Learning Transfer using Feature Map with Attention for Convolutional Networks'). Division
    by s makes alpha mean the same for each backbone: a penalty of 1 is a difference as large as the map itself.

    Attention is the paper's: a linear probe on the source's features learns the target's training pictures, and a
    channel is worth by how much the probe's loss rises when it is switched off. That takes a pass a channel; here the
    rise is read off one gradient, to first order: -sum of map * dL/dmap (Molchanov et al. 2017, 'Pruning
    Convolutional Neural Networks for Resource Efficient Inference'). Any backbone whose stages give tensors will do,
    transformers included. It fails when the target needs other features than the source has; and each step costs a
    forward pass of the source's network more.
    """

    alpha: Annotated[float, Ge(0.0), Searched(0.003, 3.0)] = 0.03
    """Weight of the distance between the feature maps."""
    beta: Annotated[float, Ge(0.0)] = 0.001
    """Pull of the head's weights towards zero."""
    attention: Literal["probe", "even"] = "probe"
    """Weigh channels by what a probe on the target's training pictures makes of them, or all alike."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head, and a frozen copy of it to compare with."""
        source.extras["source"] = Frozen(deepcopy(source))
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Learn from the training pictures how much each channel counts."""
        network.eval()
        names = [stage.names[-1] for stage in stages(network.backbone)]
        worth, power = _worth_and_power(network, domains.target, names)
        if self.attention == "even":
            worth = [torch.zeros_like(values) for values in worth]
        weights = [_attention(values) for values in worth]
        network.extras["distance"] = MapDistance(
            names, [share / (share @ size).clamp_min(1e-12) for share, size in zip(weights, power, strict=True)]
        )

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """Backbone and head, without weight decay: the penalties replace it."""
        return [ParameterGroup([*network.backbone.parameters(), *network.head.parameters()], decay=0.0)]

    def loss(self, network: Network, step: Step) -> Tensor:
        """Cross-entropy and both penalties."""
        distance = cast(MapDistance, network.extras["distance"])
        source = cast(Network, network.extras["source"].module)
        features, maps = features_and_maps(network, step.target.images, distance.names)
        with torch.no_grad():
            _, source_maps = features_and_maps(source, step.target.images, distance.names)
        penalty: Tensor = self.alpha * distance(maps, source_maps) + self.beta * half_square(network.head)
        return step.target.cross_entropy(network.head(features)) + penalty


class MapDistance(nn.Module):
    """The weighted mean squared difference between feature maps, averaged over stages."""

    def __init__(self, names: list[str], weights: list[Tensor]) -> None:
        super().__init__()
        self.names = names
        self.weights = nn.ParameterList(nn.Parameter(values, requires_grad=False) for values in weights)

    def forward(self, maps: list[Tensor], source_maps: list[Tensor]) -> Tensor:
        """A scalar, in float32 whatever the maps are."""
        terms = [
            weight @ mean_by_channel((found.float() - source.float()).square())
            for weight, found, source in zip(self.weights, maps, source_maps, strict=True)
        ]
        return torch.stack(terms).mean()


def _worth_and_power(network: Network, target: Split, names: list[str]) -> tuple[list[Tensor], list[Tensor]]:
    """For each stage: by how much the probe's loss rises without a channel (C,), and the map's mean square (C,).

    Both a picture and a place; attention does not ask for the worth's unit.
    """
    device = target.images.device
    probe = fit_probe(predict(network, target.images)[1].to(device), target.labels, len(target.classes))
    worth: list[Tensor] = [torch.zeros((), device=device)] * len(names)
    power = list(worth)
    for images, labels in zip(target.images.split(_CHUNK), target.labels.split(_CHUNK), strict=True):
        features, maps = features_and_maps(network, images, names)
        gradients = torch.autograd.grad(F.cross_entropy(probe(features), labels, reduction="sum"), maps)
        share = len(images) / len(target)
        for number, (found, gradient) in enumerate(zip(maps, gradients, strict=True)):
            worth[number] = worth[number] - share * mean_by_channel(found.detach() * gradient)
            power[number] = power[number] + share * mean_by_channel(found.detach().square())
    return worth, power


def fit_probe(features: Tensor, labels: Tensor, classes: int) -> nn.Linear:
    """Logistic regression on features (N, D), with a little L2."""
    probe = nn.Linear(features.shape[1], classes, device=features.device)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    decay = _PROBE_DECAY * features.square().sum(dim=1).mean()
    optimiser = torch.optim.LBFGS(probe.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(probe(features), labels) + decay / 2 * probe.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return probe


def _attention(worth: Tensor) -> Tensor:
    """(C,) -> (C,) that sums to one."""
    spread = (worth - worth.mean()) / worth.std(correction=0).clamp_min(1e-12)
    return (_SHARPNESS * spread).softmax(dim=0)
