"""Conditional domain-adversarial training: the discriminator also sees the predictions.

Legend: B batch, D features, K classes, M inputs of the discriminator.
"""

import math
from typing import cast

import torch
from torch import Tensor

from graft.techniques.alignment.adversarial import Discriminator, reversal_strength, reverse_gradient
from graft.techniques.alignment.base import Alignment, Outputs, entropy

MOST_INPUTS = 4096
"""Outer products larger than this are replaced by a random map, as in the paper."""
RANDOM_INPUTS = 1024
"""Size of the random map, as in the authors' code."""


class CdanAlignment(Alignment):
    """A discriminator on features ⊗ predictions (Long et al. 2018, 'Conditional Adversarial Domain Adaptation').

    With `entropy_weights` (CDAN+E), an image has the weight 1 + exp(-H) in its domain: confident predictions count up
    to twice as much as uncertain ones. No gradient flows through the predictions, including those in the weights.
    """

    feature_map: Tensor | None
    class_map: Tensor | None

    def __init__(self, feature_size: int, classes: int, *, entropy_weights: bool = True) -> None:
        super().__init__()
        self.entropy_weights = entropy_weights
        size = feature_size * classes
        randomised = size > MOST_INPUTS
        self.register_buffer("feature_map", torch.randn(feature_size, RANDOM_INPUTS) if randomised else None)
        self.register_buffer("class_map", torch.randn(classes, RANDOM_INPUTS) if randomised else None)
        self.discriminator = Discriminator(RANDOM_INPUTS if randomised else size)

    def distance(self, source: Outputs, target: Outputs, progress: float) -> Tensor:
        """The loss that the discriminator minimises and, by gradient reversal, the network maximises."""
        strength = reversal_strength(progress)
        predictions = [outputs.logits.detach().softmax(dim=1) for outputs in (source, target)]
        features = [reverse_gradient(outputs.features, strength) for outputs in (source, target)]
        seen = [self.product(f, g) for f, g in zip(features, predictions, strict=True)]
        weights = tuple(1 + (-entropy(g)).exp() for g in predictions) if self.entropy_weights else None
        return cast(Tensor, self.discriminator(*seen, weights))

    def product(self, features: Tensor, predictions: Tensor) -> Tensor:
        """(B, D) and (B, K) -> (B, M): f ⊗ g, or (f R_f) * (g R_g) / √M with fixed Gaussian R, whose inner products
        are those of f ⊗ g in expectation."""
        if self.feature_map is None or self.class_map is None:
            return (features[:, :, None] * predictions[:, None, :]).flatten(1)
        return (features @ self.feature_map) * (predictions @ self.class_map) / math.sqrt(RANDOM_INPUTS)
