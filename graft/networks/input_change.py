"""Adapt a network to another image size or number of channels than its weights were trained with.

Legend: O I channels of a convolution, P height and width of its kernel, T tokens, D width.
"""

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.inputs import Input, Text
from graft.networks.network import Description, Network


def for_input(network: Network, read: Input) -> Network:
    """The network with its weights, adapted to the input `read`; `network` itself if it reads that already.

    Grey images are repeated in each channel of weights for colour, normalised as these weights expect. The first
    convolution of weights for grey images is spread over the channels of colour images. Patch kernels are resampled,
    and position embeddings interpolated, to the grid of the new size.

    Raises:
        ValueError: a network for texts is asked to read images or vice versa, or weights cannot be adapted.
    """
    old = network.description
    if read == old.reads:
        return network
    if isinstance(read, Text) or isinstance(old.reads, Text):
        raise ValueError(f"these weights read {old.reads}, not {read}")
    if read.channels == 1 < old.channels and len(old.mean) == 1:
        old = replace(old, mean=old.mean * old.channels, std=old.std * old.channels)
    changed = Network(old.reading(read))
    body = _of_size(network.backbone, read.size)
    state = {f"backbone.{name}": value for name, value in body.state_dict().items()}
    state |= {name: value for name, value in network.own_state().items() if name.startswith("head.")}
    wanted = {name: value.shape for name, value in changed.state_dict().items()}
    changed.load_state_dict({name: _fitted(name, value, wanted[name], old) for name, value in state.items()})
    return changed.train(network.training)


def _of_size(body: nn.Module, size: int) -> nn.Module:
    """A copy of the backbone in which the timm modules of fixed image size are set to `size` pixels, by timm."""
    changed = deepcopy(body)

    def change(module: nn.Module) -> None:
        if hasattr(module, "set_input_size"):
            cast(Any, module).set_input_size(img_size=(size, size))
            return
        for child in module.children():
            change(child)

    change(changed)
    return changed


def _fitted(name: str, value: Tensor, shape: torch.Size, made_for: Description) -> Tensor:
    """A weight adapted to another shape, if possible."""
    if value.shape == shape:
        return value
    if value.ndim == len(shape) == 4 and value.shape[0] == shape[0]:
        return _kernel(value, shape[1], shape[2])
    if value.ndim == len(shape) and value.shape[-1] == shape[-1] and (extra := _extra(value.shape[-2], shape[-2])) >= 0:
        return _positions(value, shape[-2], extra)
    raise ValueError(
        f"{made_for.backbone}: {name} is {tuple(value.shape)} for {made_for.reads} and would have to be {tuple(shape)}"
        ": set prepare.image_size and prepare.channels to the values that the weights were trained with"
    )


def _kernel(kernel: Tensor, channels: int, size: int) -> Tensor:
    """(O, I, P, P) for another number of channels and another patch size.

    Channels are repeated and rescaled, so that equal channels give the same sum. Sizes: the kernel whose response to an
    enlarged patch equals that of the old kernel to the patch itself (Beyer et al. 2023, 'FlexiViT', the pseudo-inverse
    of the enlargement).
    """
    before = kernel.shape[1]
    if channels != before:
        repeated = kernel[:, torch.arange(channels) % before]
        kernel = kernel.sum(dim=1, keepdim=True) if channels == 1 else repeated * before / channels
    old = kernel.shape[-1]
    if size == old:
        return kernel
    every = torch.eye(old * old, dtype=torch.double).view(-1, 1, old, old)  # patches with one bright pixel each
    enlarged = F.interpolate(every, (size, size), mode="bicubic", antialias=size < old).flatten(1)
    resampled = kernel.double().flatten(2) @ torch.linalg.pinv(enlarged).T
    changed: Tensor = resampled.view(*kernel.shape[:2], size, size).to(kernel.dtype)
    return changed


def _extra(before: int, after: int) -> int:
    """Number of tokens outside the grid (a class token, say); -1 unless both counts are a grid plus that many."""
    extra = before - math.isqrt(before) ** 2
    return extra if math.isqrt(after - extra) ** 2 == after - extra else -1


def _positions(positions: Tensor, tokens: int, extra: int) -> Tensor:
    """(…, T, D) for another number of tokens: those of the grid are interpolated, the others stay."""
    old, new = math.isqrt(positions.shape[-2] - extra), math.isqrt(tokens - extra)
    outside, grid = positions[..., :extra, :], positions[..., extra:, :]
    square = grid.reshape(old, old, -1).permute(2, 0, 1)[None].float()
    changed = F.interpolate(square, (new, new), mode="bicubic", antialias=True)[0].permute(1, 2, 0)
    return torch.cat([outside, changed.reshape(*grid.shape[:-2], new * new, -1).to(grid.dtype)], dim=-2)
