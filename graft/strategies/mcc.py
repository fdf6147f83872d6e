"""Unlabelled target: predictions on the target do not hesitate between classes."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from graft.settings import Searched
from graft.techniques.alignment.base import Alignment
from graft.techniques.alignment.mcc import MccAlignment
from graft.techniques.label_free import Rule
from graft.techniques.unlabelled import Unlabelled


@dataclass(frozen=True)
class Mcc(Unlabelled):
    """Learn from the source's labels while the target's predictions confuse as few classes as possible.

    Minimises the source's cross-entropy + `weight` * the share off the diagonal of the classes' correlation C = pᵀ W p
    over a target batch, its rows scaled to 1, with p softened by `temperature` and W favouring sure predictions (Jin
    et al. 2020, 'Minimum Class Confusion for Versatile Domain Adaptation'). It aligns no features. It fails when the
    source network is wrong about most of a class: then it grows sure of the mistake.
    """

    weight: Annotated[float, Ge(0.0), Searched(0.1, 10.0)] = 1.0
    """Weight of the class confusion next to the source's cross-entropy."""
    temperature: Annotated[float, Gt(0.0)] = 2.5
    """Divides the logits: higher values show more of the confusion between the lesser classes."""
    selection: Rule = "guarded_snd"
    """How the weights are chosen without labels (`graft.techniques.label_free`): by soft neighbourhood density, with
    a guard against collapse or plain (snd), by entropy or DEV, or simply the last ones."""
    batch_norm: Literal["apart", "together"] = "apart"
    """Apart: each domain is normalised by its own statistics, and the network keeps the target's. Together: both by
    those of the mixture."""

    def alignment(self, feature_size: int, classes: int) -> Alignment:
        """Confusion of the target's classes."""
        return MccAlignment(self.temperature)
