"""Against forgetting and overfitting: what the network computes stays near what the source's network computes.

Legend: N images, B batch, C channels of a feature map, D features, K classes.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from graft.contract import ParameterGroup, Step, Strategy
from graft.data.split import Domains, Split
from graft.networks.heads import fresh_head
from graft.networks.network import Frozen, Network, predict
from graft.networks.stages import stages
from graft.settings import Searched
from graft.techniques.logistic import logistic_regression
from graft.techniques.regularisers import channel_axis, features_and_maps, half_square, mean_by_channel

_CHUNK = 64
_PROBE_DECAY = 0.01
"""Keeps the probe from fitting few labels to a loss of zero, where every channel would seem to be worth nothing."""
_SHARPNESS = 0.2
"""The authors': attention is softmax(z / 5) of standardised worths z."""


@dataclass(frozen=True)
class Delta(Strategy):
    """Fine-tune with a penalty on the distance of the feature maps from the source's, channel by channel.

    Minimises L + alpha * mean over stages of (sum_c a_c d_c / sum_c a_c s_c) + beta/2 ||v||^2: d_c is the mean
    square, over images and places, of the difference between the network's and the frozen source network's map in
    channel c of the stage's output, s_c the mean square of the source's map, a_c the channel's attention, v the head
    (Li, Xiong, Wang, Rao, Liu, Chen & Huan 2019, 'DELTA: DEep Learning Transfer using Feature Map with Attention for
    Convolutional Networks'). Division by s makes alpha mean the same for each backbone: a penalty of 1 is a
    difference as large as the map itself. The authors have alpha/2 * sum over stages of C sum_c a_c d_c, of C
    channels (`form: sum`), which grows with the maps; their alpha of 0.01 is for the sum over a batch's 64 images,
    so 0.64 here, and beta 0.01. They compare the last convolution of a stage, this the stage's output.

    Attention is the paper's: a linear probe on the source's features learns the target's training images, and a
    channel is worth by how much the probe's loss rises when it is switched off. That takes a pass a channel; unless
    `attention` asks for it, the rise is read off one gradient, to first order: -sum of map * dL/dmap (Molchanov et
    al. 2017, 'Pruning Convolutional Neural Networks for Resource Efficient Inference'). Any backbone whose stages
    give tensors will do, transformers included. It fails when the target needs other features than the source has;
    and each step costs a forward pass of the source's network more.
    """

    alpha: Annotated[float, Ge(0.0), Searched(0.003, 3.0)] = 0.03
    """Weight of the distance between the feature maps."""
    beta: Annotated[float, Ge(0.0)] = 0.001
    """Pull of the head's weights towards zero."""
    form: Literal["share", "sum"] = "share"
    """Penalise the difference's share of the source's map, or as the authors do all of it, with an alpha to match."""
    attention: Literal["gradient", "exact", "even"] = "gradient"
    """Weigh channels by what a probe on the target's training images makes of them: by its gradient, or as the paper
    does by switching off one channel after another, which takes a pass over these images for each; or all alike."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head, and a frozen copy of it to compare with."""
        source.extras["source"] = Frozen(deepcopy(source))
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Learn from the training images how much each channel counts."""
        network.eval()
        names = [stage.names[-1] for stage in stages(network.backbone)]
        worth, power = _worth_and_power(network, domains.target, names)
        if self.attention == "even":
            worth = [torch.zeros_like(values) for values in worth]
        if self.attention == "exact":
            worth = _exact_worth(network, domains.target, names)
        attention = [_attention(values) for values in worth]
        if self.form == "sum":
            weights = [share * len(share) / 2 for share in attention]
        else:
            sizes = [share @ size for share, size in zip(attention, power, strict=True)]
            weights = [share / size.clamp_min(1e-12) / len(names) for share, size in zip(attention, sizes, strict=True)]
        network.extras["distance"] = MapDistance(names, weights)

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
        penalty: Tensor = self.alpha * distance(maps, source_maps) + self.beta * half_square(network.head.parameters())
        return step.target.cross_entropy(network.head(features)) + penalty


class MapDistance(nn.Module):
    """The weighted mean squared difference between feature maps, added up over stages."""

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
        return torch.stack(terms).sum()


def _worth_and_power(network: Network, target: Split, names: list[str]) -> tuple[list[Tensor], list[Tensor]]:
    """For each stage: by how much the probe's loss rises without a channel (C,), and the map's mean square (C,).

    Both an image and a place; attention does not ask for the worth's unit.
    """
    device = target.images.device
    probe = fit_probe(network, target)
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


def _exact_worth(network: Network, target: Split, names: list[str]) -> list[Tensor]:
    """For each stage (C,): by how much the probe's loss rises when one of its channels is switched off."""
    probe = fit_probe(network, target)
    _, maps = features_and_maps(network, target.images[:1], names)
    with torch.no_grad():
        plain = _loss(network, probe, target)
        return [
            torch.stack([_loss_without(network, probe, target, name, channel) - plain for channel in range(count)])
            for name, count in zip(names, [len(mean_by_channel(found)) for found in maps], strict=True)
        ]


def _loss(network: Network, probe: nn.Linear, target: Split) -> Tensor:
    features = predict(network, target.images)[1].to(target.images.device)
    return F.cross_entropy(probe(features), target.labels)


def _loss_without(network: Network, probe: nn.Linear, target: Split, name: str, channel: int) -> Tensor:
    def switch_off(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.index_fill(channel_axis(output), torch.tensor([channel], device=output.device), 0)

    handle = network.backbone.get_submodule(name).register_forward_hook(switch_off)
    try:
        return _loss(network, probe, target)
    finally:
        handle.remove()


def fit_probe(network: Network, target: Split) -> nn.Linear:
    """A linear probe on the network's features of labelled images, with a little L2."""
    features = predict(network, target.images)[1].to(target.images.device)
    decay = _PROBE_DECAY * features.square().sum(dim=1).mean().item()
    return logistic_regression(features.double(), target.labels, len(target.classes), decay=decay).float()


def _attention(worth: Tensor) -> Tensor:
    """(C,) -> (C,) that sums to one."""
    spread = (worth - worth.mean()) / worth.std(correction=0).clamp_min(1e-12)
    return (_SHARPNESS * spread).softmax(dim=0)
