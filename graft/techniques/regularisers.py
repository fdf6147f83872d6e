"""Building blocks of penalties on weights and feature maps.

Legend: B batch, C channels, H W height and width, T tokens, D features.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graft.networks.network import Network


def half_square(weights: Iterable[Tensor]) -> Tensor:
    """||w||^2 / 2 over all weights; the gradient of a weight is that weight, however many there are."""
    return torch.stack([weight.square().sum() for weight in weights]).sum() / 2


def half_squared_distance(weights: Iterable[Tensor], starts: Iterable[Tensor]) -> Tensor:
    """||w - w0||^2 / 2 between weights and their starting points."""
    return half_square(weight - start for weight, start in zip(weights, starts, strict=True))


def features_and_maps(network: Network, images: Tensor, names: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Features (B, D) of images, and the outputs (feature maps) of the backbone's modules of those names.

    A map is the input of the next layer: if an in-place activation follows, the map is the result of that activation.

    Raises:
        ValueError: a module does not return a tensor, or is not reached.
    """
    maps: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            maps[name] = output

        return hook

    handles = [network.backbone.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        features = network.features(images)
    finally:
        for handle in handles:
            handle.remove()
    if missing := [name for name in names if not isinstance(maps.get(name), Tensor)]:
        raise ValueError(f"no feature map from {', '.join(missing)} of backbone {network.description.backbone}")
    return features, [maps[name] for name in names]


def mean_by_channel(feature_map: Tensor) -> Tensor:
    """The mean over images and positions per channel: (B, C, H, W), (B, T, C) or (B, C) -> (C,).

    Swin's maps are (B, H, W, C): images are square, so the side that differs is that of the channels.
    """
    channels = channel_axis(feature_map)
    return feature_map.mean([axis for axis in range(feature_map.ndim) if axis != channels])


def channel_axis(feature_map: Tensor) -> int:
    """The channel axis of a feature map."""
    if feature_map.ndim != 4:
        return feature_map.ndim - 1
    _, first, second, third = feature_map.shape
    return 3 if first == second != third else 1
