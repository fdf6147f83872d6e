"""A linear probe whose strength of regularisation is chosen on validation: one probe for each strength, side by side.

Legend: B batch, N pictures, D features, R strengths, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.network import Network
from graft.split import Domains, Split
from graft.strategies.base import Batch, ParameterGroup, Step, Strategy

STRENGTHS = tuple(10.0**exponent for exponent in range(0, -7, -1))
"""From strong to weak, so that the stronger of two equally good probes is chosen."""

RATE = 30.0
"""Learning rate of the probes, relative to the budget's: 200 steps at 0.003 then end near the optimum."""


class ProbePath(nn.Module):
    """Linear probes W_r (K, D) and b_r, r = 1 ... R, on one and the same features.

    Features are standardised and divided by sqrt(D): those of a picture then have a length of about 1, and strengths
    and rates mean the same for every backbone. The gradient is too short to be clipped, too: clipping its whole norm
    would couple the probes, which must learn as if each were alone.
    """

    mean: Tensor
    scale: Tensor
    strengths: Tensor

    def __init__(self, features: Tensor, classes: int, strengths: Sequence[float] = STRENGTHS) -> None:
        super().__init__()
        size = features.shape[1]
        spread = features.std(dim=0, correction=0)
        # A feature that hardly varies over a few pictures must not be blown up on others.
        spread = spread.clamp_min(0.01 * spread.mean() + torch.finfo(spread.dtype).tiny)
        self.register_buffer("mean", features.mean(dim=0))
        self.register_buffer("scale", spread * size**0.5)
        self.register_buffer("strengths", torch.tensor(strengths, device=features.device))
        self.weight = nn.Parameter(features.new_zeros(len(strengths), classes, size))
        self.bias = nn.Parameter(features.new_zeros(len(strengths), classes))

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> the logits of every probe (B, R, K)."""
        with torch.autocast(features.device.type, enabled=False):
            scaled = (features.float() - self.mean) / self.scale
            logits = F.linear(scaled, self.weight.flatten(0, 1), self.bias.flatten())
            return logits.view(-1, *self.bias.shape)

    def losses(self, features: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """(R,): the mean cross-entropy of every probe."""
        logits: Tensor = self(features)
        repeated = labels[:, None].expand(-1, len(self.strengths))
        losses = F.cross_entropy(logits.mT, repeated, label_smoothing=label_smoothing, reduction="none")
        return losses.mean(dim=0)

    def objective(self, batch: Batch) -> Tensor:
        """The mean over r of CE_r + strength_r / 2 |W_r|²: no term knows of another probe."""
        penalties = self.strengths / 2 * self.weight.square().sum(dim=(1, 2))
        return (self.losses(batch.images, batch.labels, batch.label_smoothing) + penalties).mean()

    @torch.no_grad()
    def write(self, which: int, head: nn.Linear) -> None:
        """Make `head` predict from plain features what probe number `which` does."""
        head.weight.copy_(self.weight[which] / self.scale)
        head.bias.copy_(self.bias[which] - head.weight @ self.mean)


@dataclass(frozen=True)
class Probing(Strategy):
    """What strategies share that train a linear probe on a frozen body."""

    def begin(self, network: Network, domains: Domains) -> None:
        """Standardise by the training features."""
        network.extras["probe"] = ProbePath(domains.target.images, len(domains.target.classes))

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The probes, without weight decay: each has a regularisation of its own."""
        return [ParameterGroup(list(network.extras["probe"].parameters()), RATE, decay=0.0)]

    def train_mode(self, network: Network) -> None:
        """Evaluation mode throughout: batch norm keeps its statistics."""
        if network.training:  # at every step, a walk through all modules would cost more than the probes do
            network.eval()

    def loss(self, network: Network, step: Step) -> Tensor:
        """That of all probes."""
        return cast(ProbePath, network.extras["probe"]).objective(step.target)

    @torch.no_grad()
    def choose(self, network: Network, validation: Split) -> None:
        """The probe with the lowest validation loss becomes the network's head."""
        path = cast(ProbePath, network.extras["probe"])
        best = path.losses(validation.images, validation.labels).argmin()
        path.write(int(best), network.head)
