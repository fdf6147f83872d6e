"""Unlabelled target: features and predictions together do not reveal the domain."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

from graft.settings import Searched
from graft.techniques.alignment.base import Alignment
from graft.techniques.alignment.cdan import CdanAlignment
from graft.techniques.unlabelled import Unlabelled


@dataclass(frozen=True)
class Cdan(Unlabelled):
    """Train on the source's labels such that a discriminator cannot tell the domains apart within a predicted class.

    As `dann`, with a discriminator on the outer product f ⊗ g of features and predictions (a random map of it if it
    has more than 4,096 entries); with entropy conditioning (CDAN+E), an image has the weight 1 + exp(-H(g)) (Long et
    al. 2018, 'Conditional Adversarial Domain Adaptation'). It fails when the first predictions are mostly wrong,
    because these are the classes that it matches.
    """

    weight: Annotated[float, Ge(0.0), Searched(0.03, 3.0)] = 0.3
    """Weight of the discriminator's loss, relative to the source's cross-entropy."""
    entropy_conditioning: bool = True
    """Whether confident predictions count more than uncertain ones (CDAN+E)."""
    discriminator_rate: Annotated[float, Gt(0.0)] = 1.0
    """Learning rate of the discriminator, relative to the network's."""

    @property
    def alignment_rate(self) -> float:
        """The discriminator's learning rate."""
        return self.discriminator_rate

    def alignment(self, feature_size: int, classes: int) -> Alignment:
        """A discriminator on features and predictions, with gradient reversal."""
        return CdanAlignment(feature_size, classes, entropy_weights=self.entropy_conditioning)
