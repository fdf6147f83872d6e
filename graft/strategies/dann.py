"""Unlabelled target: the features do not reveal the domain."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

from graft.settings import Searched
from graft.techniques.alignment.base import Alignment
from graft.techniques.alignment.dann import DannAlignment
from graft.techniques.unlabelled import Unlabelled


@dataclass(frozen=True)
class Dann(Unlabelled):
    """Train on the source's labels such that a discriminator cannot tell the features of the domains apart.

    Minimises the source's cross-entropy - `weight` * λ(p) * the cross-entropy of a discriminator that is trained to
    tell source from target, by gradient reversal; λ(p) = 2 / (1 + exp(-10 p)) - 1 over the progress p (Ganin et al.
    2016, 'Domain-Adversarial Training of Neural Networks'). It fails when the class proportions differ in the target,
    or when the features fool the discriminator with classes matched wrongly, which no loss detects.
    """

    weight: Annotated[float, Ge(0.0), Searched(0.03, 1.0)] = 0.1
    """Weight of the discriminator's loss, relative to the source's cross-entropy."""
    discriminator_rate: Annotated[float, Gt(0.0)] = 1.0
    """Learning rate of the discriminator, relative to the network's."""

    @property
    def alignment_rate(self) -> float:
        """The discriminator's learning rate."""
        return self.discriminator_rate

    def alignment(self, feature_size: int, classes: int) -> Alignment:
        """A discriminator on the features, with gradient reversal."""
        return DannAlignment(feature_size)
