"""Unlabelled target: the domains' features share their mean in a kernel's space."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from graft.settings import Searched
from graft.techniques.alignment.base import Alignment
from graft.techniques.alignment.mmd import MmdAlignment
from graft.techniques.label_free import Rule
from graft.techniques.unlabelled import Unlabelled


@dataclass(frozen=True)
class Mmd(Unlabelled):
    """Learn from the source's labels while a kernel test cannot tell the domains' features apart.

    Minimises the source's cross-entropy + `weight` * MMD²(f(source), f(target)), unbiased, with a mean of five Gaussian
    kernels around the batch's mean distance (Gretton et al. 2012, 'A Kernel Two-Sample Test'; Long et al. 2015,
    'Learning Transferable Features with Deep Adaptation Networks'). It fails when the classes are in other proportions
    in the target: features of different classes are then drawn to one another to make up for it.
    """

    weight: Annotated[float, Ge(0.0), Searched(0.1, 10.0)] = 1.0
    """Weight of the squared MMD next to the source's cross-entropy."""
    selection: Rule = "guarded_snd"
    """How the weights are chosen without labels (`graft.techniques.label_free`): by soft neighbourhood density, with
    a guard against collapse or plain (snd), by entropy or DEV, or simply the last ones."""
    batch_norm: Literal["apart", "together"] = "apart"
    """Apart: each domain is normalised by its own statistics, and the network keeps the target's. Together: both by
    those of the mixture."""

    def alignment(self, feature_size: int, classes: int) -> Alignment:
        """Multi-kernel MMD of the features."""
        return MmdAlignment()
