"""Unlabelled target: target predictions are not spread over several classes."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

from graft.settings import Searched
from graft.techniques.alignment.base import Alignment
from graft.techniques.alignment.mcc import MccAlignment
from graft.techniques.unlabelled import Unlabelled


@dataclass(frozen=True)
class Mcc(Unlabelled):
    """Train on the source's labels such that the target's predictions confuse as few classes as possible.

    Minimises the source's cross-entropy + `weight` * the off-diagonal share of the class correlation C = pᵀ W p over a
    target batch, its rows scaled to 1, with p softened by `temperature` and W favouring confident predictions (Jin et
    al. 2020, 'Minimum Class Confusion for Versatile Domain Adaptation'). It does not align features. It fails when the
    source network is wrong about most of a class: then it becomes confident of the error.
    """

    weight: Annotated[float, Ge(0.0), Searched(0.1, 10.0)] = 1.0
    """Weight of the class confusion, relative to the source's cross-entropy."""
    temperature: Annotated[float, Gt(0.0)] = 2.5
    """Divides the logits: higher values show more of the confusion between less likely classes."""

    def alignment(self, feature_size: int, classes: int) -> Alignment:
        """Class confusion on the target."""
        return MccAlignment(self.temperature)
