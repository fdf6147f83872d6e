"""Model level: two backbones in parallel, the source's and one for the target, under one head."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

from annotated_types import Gt, Le

from graft.networks.composite import Concat, Fusion
from graft.settings import Searched
from graft.techniques.two_backbones import TwoBackbones


@dataclass(frozen=True)
class FeatureConcat(TwoBackbones):
    """Concatenate the source's features with those of a fresh backbone, and train a head on both.

    Logits are W [f_s(x); c f_t(x)] + b, with f_s the source's backbone, f_t one that starts from random weights and
    trains only on the target, both scaled to root mean square 1, and c < 1 (Wang, Ramanan & Hebert 2017, 'Growing a
    Brain: Fine-Tuning by Increasing Model Capacity'; Rusu et al. 2016, 'Progressive Neural Networks', freeze f_s). With
    few labels, random features fit the labels as well as the source's do but do not generalise: with a small c the head
    relies on the source first, and the fresh backbone contributes later. It fails where the source's features suffice:
    then it is fine-tuning at twice the cost.
    """

    joined_by: ClassVar[str] = "concat"

    target_scale: Annotated[float, Gt(0.0), Le(1.0), Searched(0.03, 1.0)] = 0.3
    """Scale c of the target backbone's features, relative to the source's."""

    def start(self, joined: Concat | Fusion) -> None:
        """Scale the target's features."""
        cast(Concat, joined).target_scale.fill_(self.target_scale)
