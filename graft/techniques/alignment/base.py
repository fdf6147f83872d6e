"""What every alignment takes and gives.

Legend: B batch (the two domains' may differ in size), D features, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Outputs:
    """What a network makes of a batch of one domain."""

    features: Tensor
    """(B, D)"""
    logits: Tensor
    """(B, K), of the target's classes for either domain."""

    def float(self) -> "Outputs":
        """The same in float32."""
        return Outputs(self.features.float(), self.logits.float())


class Alignment(nn.Module):
    """A loss that is small where two domains look alike to the network; it sees no labels.

    A module because some learn next to the network (a discriminator). It lives in the network's `extras`.
    """

    def forward(self, source: Outputs, target: Outputs, progress: float = 0.0) -> Tensor:
        """The loss; `progress` goes from 0 to 1. In float32: bfloat16 is too coarse for kernels and covariances."""
        with torch.autocast(source.features.device.type, enabled=False):
            return self.distance(source.float(), target.float(), progress)

    def distance(self, source: Outputs, target: Outputs, progress: float) -> Tensor:
        """The loss of float32 outputs."""
        raise NotImplementedError


def entropy(probabilities: Tensor) -> Tensor:
    """(B,), in nats, of probabilities (B, K)."""
    found: Tensor = torch.special.entr(probabilities).sum(dim=1)
    return found
