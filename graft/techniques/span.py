"""The space that features span, in which linear heads are fitted.

Legend: N images, D features, R directions, K classes.
"""

import torch
from torch import Tensor, nn


class Span:
    """Features (N, D) centred, scaled by one common factor, and rotated into the directions that they span.

    The factor gives a feature vector a length of about 1, so that the strength of a penalty means the same for every
    backbone. Each feature keeps its relative scale: with few images, standardisation would give a feature that hardly
    varies as much weight as one with a strong signal. A penalty on the weights does not change with a rotation, and
    there are at most as many directions as images.
    """

    coordinates: Tensor
    """(N, R), in single precision."""

    def __init__(self, features: Tensor) -> None:
        wide = features.double()
        self._mean, spread = wide.mean(dim=0), wide.std(dim=0, correction=0)
        self._length = spread.square().sum().sqrt().clamp_min(torch.finfo(torch.float).tiny)
        scaled = (wide - self._mean) / self._length
        self._axes: Tensor | None = None
        if len(wide) < wide.shape[1]:
            self._axes = torch.linalg.svd(scaled, full_matrices=False)[2]
            scaled = scaled @ self._axes.T
        self.coordinates = scaled.float()

    def on_features(self, head: nn.Linear, known: nn.Linear | None = None) -> nn.Linear:
        """The layer D -> K that equals `head`, R -> K, on coordinates, plus `known`, D -> K; in single precision."""
        weight = head.weight.double() if self._axes is None else head.weight.double() @ self._axes
        weight = weight / self._length
        bias = head.bias - weight @ self._mean
        found = nn.Linear(weight.shape[1], len(weight), device=weight.device)
        found.weight.copy_(weight + known.weight if known else weight)
        found.bias.copy_(bias + known.bias if known else bias)
        return found
