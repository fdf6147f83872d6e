"""The contract between a strategy and the one loop.

Legend: B batch, C channels, H W height and width, K classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from graft.network import Network


@dataclass(frozen=True)
class Batch:
    """Augmented pictures of one domain with their labels."""

    images: Tensor
    """(B, C, H, W), float in [0, 1]."""
    labels: Tensor
    """(B,), an index into the domain's classes."""
    label_smoothing: float = 0.0

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy of logits (B, K) against the labels, smoothed as the training settings say."""
        return F.cross_entropy(logits, self.labels, label_smoothing=self.label_smoothing)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at the same rate."""

    parameters: Iterable[nn.Parameter]
    rate: float = 1.0
    """Their learning rate as a multiple of the budget's, which is the same for every strategy."""


@dataclass(frozen=True)
class Strategy:
    """How what a network learned on the source domain reaches the target domain.

    Subclasses are frozen dataclasses: the fields are the strategy's knobs, the docstring states the idea, the
    formula, the paper and when it fails.
    """

    uses_source_data: ClassVar[bool] = False
    """Whether every step also sees a batch of source pictures."""
    optimises: ClassVar[bool] = True
    """False for a control that is evaluated as it is adapted."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The network to train for the target's `classes`: freeze, inject, widen, replace or build.

        `source` is the pretrained network and may be changed and returned.

        Raises:
            ValueError: the strategy cannot work for these domains; says precisely why.
        """
        raise NotImplementedError

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """What is optimised, and at which rate; all that asks for a gradient, at the budget's rate."""
        return [ParameterGroup([p for p in network.parameters() if p.requires_grad])]

    def train_mode(self, network: Network) -> None:
        """Called before every step; frozen bodies keep their batch-norm statistics by staying in `eval` mode."""
        network.train()

    def loss(self, network: Network, source: Batch | None, target: Batch, progress: float) -> Tensor:
        """The scalar to minimise; `progress` runs from 0 at the first step to 1 at the last.

        `source` is None unless `uses_source_data`.
        """
        return target.cross_entropy(network(target.images))

    def finish(self, network: Network) -> Network:
        """The network that is kept: whatever only training needed is taken off or merged."""
        return network
