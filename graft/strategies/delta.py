"""Against forgetting and overfitting: the feature maps stay close to those of the source network.

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
"""Keeps the probe from fitting few labels to a loss of zero, at which every channel would seem to be unimportant."""
_SHARPNESS = 0.2
"""As in the authors' code: attention is softmax(z / 5) of the standardised importances z."""


@dataclass(frozen=True)
class Delta(Strategy):
    """Fine-tune with a penalty on the distance between the feature maps and the source's, channel by channel.

    Minimises L + alpha * mean over stages of (sum_c a_c d_c / sum_c a_c s_c) + beta/2 ||v||^2: d_c is the mean
    square, over images and positions, of the difference between the network's and the frozen source network's map in
    channel c of the stage's output, s_c the mean square of the source's map, a_c the channel's attention, v the head
    (Li, Xiong, Wang, Rao, Liu, Chen & Huan 2019, 'DELTA: DEep Learning Transfer using Feature Map with Attention for
    Convolutional Networks'). Division by s makes alpha mean the same for each backbone: a penalty of 1 is a
    difference as large as the map itself. The authors use alpha/2 * sum over stages of C sum_c a_c d_c, for C
    channels (`form: sum`), which grows with the maps; their alpha of 0.01 is for the sum over a batch of 64 images,
    so 0.64 here, and beta is 0.01. They compare the last convolution of a stage; here it is the stage's output.

    Attention is the paper's: a linear probe on the source's features is fitted to the target's training images, and
    the importance of a channel is the increase of the probe's loss when the channel is switched off. That takes one
    pass per channel; unless `attention` asks for it, the increase is estimated from one gradient, to first order: -sum
    of map * dL/dmap (Molchanov et al. 2017, 'Pruning Convolutional Neural Networks for Resource Efficient Inference').
    Works with any backbone whose stages return tensors, including transformers. It fails when the target needs other
    features than the source has; and each step costs an additional forward pass of the source network.
    """

    alpha: Annotated[float, Ge(0.0), Searched(0.003, 3.0)] = 0.03
    """Weight of the distance between the feature maps."""
    beta: Annotated[float, Ge(0.0)] = 0.001
    """L2 penalty on the head's weights."""
    form: Literal["share", "sum"] = "share"
    """Penalise the difference relative to the source's map, or its sum as the authors do, with a matching alpha."""
    attention: Literal["gradient", "exact", "even"] = "gradient"
    """How channels are weighted by a probe on the target's training images: `gradient`: by its gradient; `exact`: as in
    the paper, by switching off one channel after another, one pass over these images each; `even`: all equally."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head, and a frozen copy of it to compare with."""
        source.extras["source"] = Frozen(deepcopy(source))
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Compute the attention of each channel on the training images."""
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
    """The weighted mean squared difference between feature maps, summed over stages."""

    def __init__(self, names: list[str], weights: list[Tensor]) -> None:
        super().__init__()
        self.names = names
        self.weights = nn.ParameterList(nn.Parameter(values, requires_grad=False) for values in weights)

    def forward(self, maps: list[Tensor], source_maps: list[Tensor]) -> Tensor:
        """A scalar, in float32 whatever the precision of the maps."""
        terms = [
            weight @ mean_by_channel((found.float() - source.float()).square())
            for weight, found, source in zip(self.weights, maps, source_maps, strict=True)
        ]
        return torch.stack(terms).sum()


def _worth_and_power(network: Network, target: Split, names: list[str]) -> tuple[list[Tensor], list[Tensor]]:
    """Per stage: the increase of the probe's loss without a channel (C,), and the mean square of its map (C,).

    Both are means over images and positions; attention does not depend on the scale of the importance.
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
    """Per stage (C,): the increase of the probe's loss when one of its channels is switched off."""
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
    """A linear probe on the network's features of labelled images, with weak L2 regularisation."""
    features = predict(network, target.images)[1].to(target.images.device)
    decay = _PROBE_DECAY * features.square().sum(dim=1).mean().item()
    return logistic_regression(features.double(), target.labels, len(target.classes), decay=decay).float()


def _attention(worth: Tensor) -> Tensor:
    """Importances (C,) -> attention (C,), which sums to one."""
    spread = (worth - worth.mean()) / worth.std(correction=0).clamp_min(1e-12)
    return (_SHARPNESS * spread).softmax(dim=0)
