"""The layers of a backbone, each with its kind and stage."""

from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torchvision.models.convnext import LayerNorm2d

from graft.networks.stages import stages

Kind = Literal["convolutional", "linear", "embedding"]


@dataclass(frozen=True)
class Layer:
    """A module that holds weights itself, not only through its submodules.

    Attributes:
        module: the module; with `recurse=False`, its parameters and buffers are the layer's own.
        kind: `convolutional`: convolutions, batch norms and group norms; `linear`: linear layers, attention and layer
            norms; `embedding`: tables, class tokens, positions and everything else.
        stage: number of its stage; the one closest to the input is 0.
    """

    module: nn.Module
    kind: Kind
    stage: int


def layers(backbone: nn.Module) -> list[Layer]:
    """The layers of a backbone, in module order; together they hold every weight once."""
    place = {id(p): number for number, stage in enumerate(stages(backbone)) for p in stage.parameters}
    found = []
    for module in backbone.modules():
        own = next(module.parameters(recurse=False), None)
        if own is not None:
            found.append(Layer(module, _kind(module), place[id(own)]))
    return found


def _kind(module: nn.Module) -> Kind:
    if isinstance(module, (_ConvNd, nn.BatchNorm2d, nn.GroupNorm, LayerNorm2d)):
        return "convolutional"
    if isinstance(module, (nn.Linear, nn.MultiheadAttention, nn.LayerNorm)):
        return "linear"
    return "embedding"
