"""Model level: one network that fuses the source's features with those of a backbone for the target."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

from annotated_types import Gt, Lt

from graft.networks.composite import Concat, Fusion
from graft.settings import Searched
from graft.techniques.two_backbones import TwoBackbones


@dataclass(frozen=True)
class FeatureFusion(TwoBackbones):
    """Mix the source's features with those of a fresh backbone, through learned gates.

    f = g * f_s + (1 - g) * P f_t with g = sigmoid(W [f_s; f_t] + b), one gate per feature, which depends on the image;
    P is the identity if both backbones have the same number of features (the gated multimodal unit of Arevalo et al.
    2017, 'Gated Multimodal Units for Information Fusion', with two backbones instead of two modalities). W starts at 0,
    and b such that g is `source_gate` everywhere: an untrained f_t does not swamp f_s. It fails where labels are too
    few to learn when to trust which backbone: then it is the source's features with noise added.
    """

    joined_by: ClassVar[str] = "fusion"

    source_gate: Annotated[float, Gt(0.0), Lt(1.0), Searched(0.5, 0.99)] = 0.9
    """Share g of the source's features before training."""

    def start(self, joined: Concat | Fusion) -> None:
        """Open the gate for the source's features."""
        cast(Fusion, joined).open_gate(self.source_gate)
