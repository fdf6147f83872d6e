"""The interface of every alignment.

Legend: B batch (the two domains' may differ in size), D features, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Outputs:
    """Features and logits of a batch of one domain."""

    features: Tensor
    """(B, D)"""
    logits: Tensor
    """(B, K), for the target's classes in either domain."""

    def float(self) -> "Outputs":
        """The same in float32."""
        return Outputs(self.features.float(), self.logits.float())


class Alignment(nn.Module):
    """A loss that is small if the network's outputs on the two domains are similar; it uses no labels.

    A module, because some have parameters that are trained with the network (a discriminator). It is one of the
    network's `extras`.
    """

    def forward(self, source: Outputs, target: Outputs, progress: float = 0.0) -> Tensor:
        """The loss; `progress` goes from 0 to 1. In float32: bfloat16 is too coarse for kernels and covariances."""
        with torch.autocast(source.features.device.type, enabled=False):
            return self.distance(source.float(), target.float(), progress)

    def distance(self, source: Outputs, target: Outputs, progress: float) -> Tensor:
        """The loss of float32 outputs."""
        raise NotImplementedError


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy (B,), in nats, of probabilities (B, K)."""
    found: Tensor = torch.special.entr(probabilities).sum(dim=1)
    return found
