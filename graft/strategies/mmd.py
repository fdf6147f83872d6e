"""Unlabelled target: the features of both domains have the same mean in a kernel space."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from graft.settings import Searched
from graft.techniques.alignment.base import Alignment
from graft.techniques.alignment.mmd import MmdAlignment
from graft.techniques.unlabelled import Unlabelled


@dataclass(frozen=True)
class Mmd(Unlabelled):
    """Train on the source's labels such that a kernel test cannot tell the features of the domains apart.

    Minimises the source's cross-entropy + `weight` * MMD²(f(source), f(target)), unbiased, with a mean of five Gaussian
    kernels around the batch's mean distance (Gretton et al. 2012, 'A Kernel Two-Sample Test'; Long et al. 2015,
    'Learning Transferable Features with Deep Adaptation Networks'). It fails when the class proportions differ in the
    target: features of different classes are then pulled together to compensate.
    """

    weight: Annotated[float, Ge(0.0), Searched(0.1, 10.0)] = 1.0
    """Weight of the squared MMD, relative to the source's cross-entropy."""

    def alignment(self, feature_size: int, classes: int) -> Alignment:
        """Multi-kernel MMD of the features."""
        return MmdAlignment()
