"""Domain-adversarial training: features that do not reveal the domain.

Legend: B batch, D features.
"""

from typing import cast

from torch import Tensor

from graft.techniques.alignment.adversarial import Discriminator, reversal_strength, reverse_gradient
from graft.techniques.alignment.base import Alignment, Outputs


class DannAlignment(Alignment):
    """A discriminator on the features, with gradient reversal (Ganin et al. 2016, 'Domain-Adversarial Training of
    Neural Networks')."""

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.discriminator = Discriminator(feature_size)

    def distance(self, source: Outputs, target: Outputs, progress: float) -> Tensor:
        """The loss that the discriminator minimises and, by gradient reversal, the network maximises."""
        strength = reversal_strength(progress)
        seen = (reverse_gradient(outputs.features, strength) for outputs in (source, target))
        return cast(Tensor, self.discriminator(*seen))
