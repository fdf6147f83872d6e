"""Unlabelled target: the domains' features share their covariance."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from graft.settings import Searched
from graft.techniques.alignment.base import Alignment
from graft.techniques.alignment.coral import CoralAlignment
from graft.techniques.label_free import Rule
from graft.techniques.unlabelled import Unlabelled


@dataclass(frozen=True)
class Coral(Unlabelled):
    """Learn from the source's labels while the domains' features keep the same covariance.

    Minimises the source's cross-entropy + `weight` * ||C_s - C_t||² / (4 D²) over covariances of D features (Sun &
    Saenko 2016, 'Deep CORAL: Correlation Alignment for Deep Domain Adaptation'). Cheap, and nothing to tune but the
    weight. It fails when the domains differ in the means of their features, which it ignores, and with few images
    in a batch for many features, for then the covariances are mostly noise.
    """

    weight: Annotated[float, Ge(0.0), Searched(10.0, 1000.0)] = 100.0
    """Weight of the distance next to the source's cross-entropy; large, for an average over D² small numbers."""
    selection: Rule = "guarded_snd"
    """How the weights are chosen without labels (`graft.techniques.label_free`): by soft neighbourhood density, with
    a guard against collapse or plain (snd), by entropy or DEV, or simply the last ones."""
    batch_norm: Literal["apart", "together"] = "apart"
    """Apart: each domain is normalised by its own statistics, and the network keeps the target's. Together: both by
    those of the mixture."""

    def alignment(self, feature_size: int, classes: int) -> Alignment:
        """Distance of the features' covariances."""
        return CoralAlignment()
