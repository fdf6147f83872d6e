"""A domain discriminator, and gradient reversal, which trains the network to fool it.

Legend: B batch, D inputs.
"""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -context.strength * gradients[0], None


def reverse_gradient(values: Tensor, strength: float) -> Tensor:
    """The values unchanged; in the backward pass, their gradient is multiplied by `-strength`."""
    return cast(Tensor, _Reversal.apply(values, strength))


def reversal_strength(progress: float) -> float:
    """2 / (1 + exp(-10 p)) - 1: from 0 to 1, so that the discriminator learns before it affects the network."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class Discriminator(nn.Module):
    """An MLP with two hidden layers that outputs the logit of 'target'."""

    def __init__(self, inputs: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, source: Tensor, target: Tensor, weights: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Cross-entropy of classifying source (B, D) against target (C, D); each domain counts half.

        `weights` (B,) and (C,) weight each image within its domain.
        """
        on_source, on_target = self.layers(torch.cat([source, target])).flatten().split([len(source), len(target)])
        losses = F.softplus(on_source), F.softplus(-on_target)
        if weights is None:
            return (losses[0].mean() + losses[1].mean()) / 2
        means = [(weight * loss).sum() / weight.sum() for weight, loss in zip(weights, losses, strict=True)]
        return (means[0] + means[1]) / 2
