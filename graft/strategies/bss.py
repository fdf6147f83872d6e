"""Against forgetting and overfitting: suppress directions of the features that transfer badly.

Legend: B batch, D features.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from graft.contract import Step, Strategy
from graft.networks.heads import fresh_head
from graft.networks.network import Network
from graft.settings import Fraction, Searched


@dataclass(frozen=True)
class Bss(Strategy):
    """Fine-tune with a penalty on the weakest directions of a batch's features.

    Minimises L + eta * (sum of the k smallest s_i^2) / (sum of all s_i^2), where s_i are the singular values of the
    features F (B, D) (Chen, Wang, Fu, Long & Wang 2019, 'Catastrophic Forgetting Meets Negative Transfer: Batch
    Spectral Shrinkage for Safe Transfer Learning'). Directions with small singular values transfer worst, and few
    labels cannot correct them. The paper penalises the sum alone (`form: sum`), with k = 1 (`share: 0`) and eta =
    0.001: that grows with B, D and the scale of the features, shrinks when all features do, and is almost zero where
    features are few and correlated, as in small networks. Hence the share of the whole, and k as a share of the
    min(B, D) directions. It fails when the weak directions are those that separate the target's classes, and on CUDA
    each step waits for the decomposition.
    """

    eta: Annotated[float, Ge(0.0), Searched(0.1, 30.0)] = 1.0
    """Weight of the penalty. Networks with few features tolerate more: one with 128 gained from 10 at `share` 0.75."""
    share: Fraction = 0.5
    """Share of the directions that count as weak; at least one."""
    form: Literal["share", "sum"] = "share"
    """Penalise the weak directions' share of the spectrum, or their sum as in the paper, with a matching eta."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head."""
        fresh_head(source, classes)
        return source

    def loss(self, network: Network, step: Step) -> Tensor:
        """Cross-entropy and the penalty on the same features."""
        features = network.features(step.target.images)
        k = max(1, round(self.share * min(features.shape)))
        weak, whole = spectrum(features, k)
        penalty = weak / whole.clamp_min(1e-12) if self.form == "share" else weak
        return step.target.cross_entropy(network.head(features)) + self.eta * penalty


def spectrum(features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The sum of the k smallest squared singular values of features (B, D), and the sum of all; in float32."""
    squares: Tensor = torch.linalg.svdvals(features.float()).square()
    return squares[-k:].sum(), squares.sum()
