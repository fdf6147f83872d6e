"""FixMatch as Transfer-Learning-Library trains it: confident answers for weakly augmented images teach strong views.

Legend: B batch, C channels, H W height and width.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2 import RandAugment

from benchmarks.peers.tllib_methods import Given, Groups, Method
from graft.data.split import Split
from graft.networks.network import Network

THRESHOLD = 0.7
"""Of the confidence; what its scripts take with ImageNet's weights on most data sets."""


class FixMatch(Method):
    """Cross-entropy on labelled images, a tenth of it on their strong views, and on strong views of the pool where the
    weak view is confident (Sohn et al. 2020, 'FixMatch: Simplifying Semi-Supervised Learning with Consistency and
    Confidence')."""

    batch = 32
    uses_pool = True

    def __init__(self, weights: Network, paid: Split) -> None:
        super().__init__(weights, paid)
        size = self.network.feature_size
        bottleneck = nn.Linear(size, 1024)
        nn.init.normal_(bottleneck.weight, std=0.005)
        nn.init.constant_(bottleneck.bias, 0.1)
        self.network.backbone = nn.Sequential(
            self.network.backbone, bottleneck, nn.BatchNorm1d(1024), nn.ReLU(), nn.Dropout(0.5)
        )
        self.network.set_head(nn.Linear(1024, len(paid.classes)), paid.classes)
        self.strong = RandAugment(num_ops=2, magnitude=10)

    def parameter_groups(self) -> Groups:
        """The bottleneck learns as fast as the head."""
        body, *bottleneck = cast(nn.Sequential, self.network.backbone)
        yield body.parameters(), 0.1
        yield nn.Sequential(*bottleneck).parameters(), 1.0
        yield self.network.head.parameters(), 1.0

    def schedule(self, step: int, steps: int) -> float:  # noqa: ARG002
        """Nearly constant for as long as this is."""
        return float((1 + 0.0004 * step) ** -0.75)

    def loss(self, given: Given) -> Tensor:
        """Of labelled images and of the pool."""
        assert given.pool
        loss = F.cross_entropy(self.network(given.first), given.labels)
        loss = loss + 0.1 * F.cross_entropy(self.network(self._strongly(given.second)), given.labels)
        with torch.no_grad():
            confidence, answers = self.network(given.pool[0]).softmax(dim=1).max(dim=1)
        losses = F.cross_entropy(self.network(self._strongly(given.pool[1])), answers, reduction="none")
        found: Tensor = loss + (losses * (confidence > THRESHOLD)).mean()
        return found

    def _strongly(self, images: Tensor) -> Tensor:
        """Views (B, C, H, W), each changed by two random operations."""
        return torch.stack([self.strong(image) for image in (images * 255).round().byte()]).float() / 255
