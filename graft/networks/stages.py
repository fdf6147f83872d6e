"""A backbone as a sequence of stages, from the input to the features: the unit of layer-wise strategies."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

NORMS = (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Stage:
    """Neighbouring layers that are treated as one: a convolution with its norm, or a block.

    Attributes:
        names: of the modules within the backbone.
        modules: the modules, in order.
        parameters: their weights; the first stage also holds the weights that belong to no stage's module.
    """

    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...]


def stages(backbone: nn.Module) -> list[Stage]:
    """The stages of a backbone, the one closest to the input first.

    Containers, and modules that hold most of the weights, are opened recursively until units remain: a layer, or a
    block such as ResNet's. A norm joins the layer before it; modules without weights belong to no stage. Every weight
    of the backbone is in exactly one stage.
    """
    most = _size(backbone) / 2
    groups: list[list[tuple[str, nn.Module]]] = []
    for name, module in _units("", backbone, most):
        if isinstance(module, NORMS) and groups:
            groups[-1].append((name, module))
        else:
            groups.append([(name, module)])
    inside = {id(p) for group in groups for _, module in group for p in module.parameters()}
    loose = [p for p in backbone.parameters() if id(p) not in inside]  # class tokens, position embeddings
    found: list[Stage] = []
    for group in groups:
        own = [p for _, module in group for p in module.parameters()]
        names, modules = zip(*group, strict=True)
        found.append(Stage(names, modules, tuple(own if found else [*loose, *own])))
    return found


def keep_frozen_statistics(backbone: nn.Module) -> None:
    """Keep batch norms with frozen weights in evaluation mode, so that their statistics do not change either."""
    for module in backbone.modules():
        if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters(recurse=False)):
            module.eval()


def _units(name: str, module: nn.Module, most: float) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) of the units within a module, in order; only units with weights."""
    size, children = _size(module), list(module.named_children())
    if children and (_is_row(module) or size > most):
        for child_name, child in children:
            yield from _units(f"{name}.{child_name}".lstrip("."), child, most)
    elif size:
        yield name, module


def _is_row(module: nn.Module) -> bool:
    """Whether a module only holds others. A subclass of a container that holds bare layers, such as torchvision's
    convolution with norm and activation, is a unit."""
    if type(module) in _CONTAINERS:
        return True
    return isinstance(module, _CONTAINERS) and any(next(child.children(), None) for child in module.children())


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
