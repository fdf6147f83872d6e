"""Low-rank updates of frozen weights.

Legend: O outputs, I inputs of a weight (for a convolution: input channels x height x width), r rank.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize


class LowRankUpdate(nn.Module):
    """W -> W + alpha / r B A, with A (r, I) random and B (O, r) zero at the start, so that training starts from W.

    A convolution kernel (O, C, H, W) is treated as a matrix (O, C H W), for grouped and depthwise convolutions too:
    the kernels of all channels then change within r shared patterns. r is at most the full rank.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        outputs, inputs = weight.flatten(1).shape
        rank = min(rank, outputs, inputs)
        self.scale = alpha / rank
        self.down = nn.Parameter(weight.new_empty(rank, inputs))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as torch initialises a linear layer

    def forward(self, weight: Tensor) -> Tensor:
        """The updated weight that the layer uses."""
        return weight + self.scale * (self.up @ self.down).view_as(weight)


def add_low_rank(backbone: nn.Module, rank: int, alpha: float) -> None:
    """Freeze a backbone and add trainable low-rank updates to its linear, attention and convolution weights.

    The weights are parametrised; layers are not wrapped, because attention reads the weights of its layers without
    calling them.
    """
    backbone.requires_grad_(False)
    for module, name in list(_weights(backbone)):
        parametrize.register_parametrization(module, name, LowRankUpdate(getattr(module, name), rank, alpha))


def merge_low_rank(backbone: nn.Module) -> None:
    """Merge every update into its weight: plain layers, plain names, the same outputs."""
    for module in backbone.modules():
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _weights(backbone: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for module in backbone.modules():
        if isinstance(module, (nn.Linear, _ConvNd)):
            yield module, "weight"
        elif isinstance(module, nn.MultiheadAttention) and isinstance(module.in_proj_weight, torch.Tensor):
            yield module, "in_proj_weight"
