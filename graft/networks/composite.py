"""Two bodies that look at the same image, joined into one: the source's, and one for the target.

Legend: B batch, C channels, H W height and width, D features (of the source, the target, or both together).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Concat(nn.Module):
    """(B, C, H, W) -> (B, D_source + D_target): the features of both bodies side by side.

    Each body's features are brought to root mean square 1 first: a trained body's are sparse, a fresh one's are not,
    and a head would learn from the larger ones (Wang, Ramanan & Hebert 2017, 'Growing a Brain: Fine-Tuning by
    Increasing Model Capacity', scale new units likewise). `target_scale` may then hold the target's back; it is kept
    with the weights and not learned.
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
    """(B, C, H, W) -> (B, D_source): features of both bodies, mixed by a gate that depends on the image.

    g = sigmoid(W [f_s; f_t] + b), one gate a feature; f = g f_s + (1 - g) P f_t. The source's features pass as they
    are, and P brings the target's to as many where they are not.
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
        """Let the source's features through by `share` (0 to 1), whatever the image; training starts from there."""
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, math.log(share / (1 - share)))


def _to_unit_scale(features: Tensor) -> Tensor:
    """(B, D), each row scaled to root mean square 1; a row of zeros stays one."""
    return F.normalize(features.float(), dim=1) * math.sqrt(features.shape[1])
