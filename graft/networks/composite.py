"""Two backbones that see the same image, joined into one: the source's, and one for the target.

Legend: B batch, C channels, H W height and width, D features (of the source, the target, or both).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Concat(nn.Module):
    """(B, C, H, W) -> (B, D_source + D_target): the concatenated features of both backbones.

    The features of each backbone are first scaled to root mean square 1: those of a trained backbone are sparse, those
    of a fresh one are not, and a head would learn from the larger ones (Wang, Ramanan & Hebert 2017, 'Growing a Brain:
    Fine-Tuning by Increasing Model Capacity', scale new units likewise). `target_scale` can then shrink the target's
    features; it is saved with the weights but not trained.
    """

    target_scale: Tensor

    def __init__(self, source: nn.Module, target: nn.Module) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.register_buffer("target_scale", torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        """Source features, then target features."""
        of_source, of_target = _to_unit_scale(self.source(images)), _to_unit_scale(self.target(images))
        return torch.cat([of_source, self.target_scale * of_target], dim=1)


class Fusion(nn.Module):
    """(B, C, H, W) -> (B, D_source): the features of both backbones, mixed by a gate that depends on the image.

    g = sigmoid(W [f_s; f_t] + b), one gate per feature; f = g f_s + (1 - g) P f_t. The source's features pass
    unchanged; P maps the target's features to the same number if the numbers differ.
    """

    def __init__(self, source: nn.Module, source_size: int, target: nn.Module, target_size: int) -> None:
        super().__init__()
        self.source, self.target = source, target
        self.projection = nn.Identity() if source_size == target_size else nn.Linear(target_size, source_size)
        self.gate = nn.Linear(source_size + target_size, source_size)

    def forward(self, images: Tensor) -> Tensor:
        """The fused features."""
        of_source, of_target = self.source(images), self.target(images)
        gate = self.gate(torch.cat([of_source, of_target], dim=1)).sigmoid()
        fused: Tensor = gate * of_source + (1 - gate) * self.projection(of_target)
        return fused

    def open_gate(self, share: float) -> None:
        """Start training with a gate of `share` (between 0 and 1) for the source's features, for every image."""
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, math.log(share / (1 - share)))


def _to_unit_scale(features: Tensor) -> Tensor:
    """(B, D), each row scaled to root mean square 1; a row of zeros stays zero."""
    return F.normalize(features.float(), dim=1) * math.sqrt(features.shape[1])
