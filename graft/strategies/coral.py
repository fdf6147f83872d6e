"""Unlabelled target: the domains' features share their covariance."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from graft.settings import Searched
from graft.techniques.alignment.base import Alignment
from graft.techniques.alignment.coral import CoralAlignment
from graft.techniques.unlabelled import Unlabelled


@dataclass(frozen=True)
class Coral(Unlabelled):
    """Train on the source's labels such that the features of both domains have the same covariance.

    Minimises the source's cross-entropy + `weight` * ||C_s - C_t||² / (4 D²) over covariances of D features (Sun &
    Saenko 2016, 'Deep CORAL: Correlation Alignment for Deep Domain Adaptation'). Cheap, with only the weight to tune.
    It fails when the domains differ in the means of their features, which it ignores, and with small batches and many
    features, because the covariances are then mostly noise.
    """

    weight: Annotated[float, Ge(0.0), Searched(10.0, 1000.0)] = 100.0
    """Weight of the distance, relative to the source's cross-entropy; large, because it averages D² small numbers."""

    def alignment(self, feature_size: int, classes: int) -> Alignment:
        """Distance between the covariances of the features."""
        return CoralAlignment()
