"""Unlabelled target: batch norm with the target's statistics."""

from dataclasses import dataclass
from typing import ClassVar

from graft.contract import Strategy
from graft.data.split import Domains
from graft.networks.batch_norm import batch_norms, estimate_statistics
from graft.networks.heads import matched_head, require_known_classes
from graft.networks.network import Network


@dataclass(frozen=True)
class Adabn(Strategy):
    """Replace the source's batch-norm statistics by those of the target's images; train nothing.

    Each layer normalises with the mean and variance of its inputs on the target's unlabelled images, x' = γ (x - μ_t) /
    σ_t + β, and keeps the source's weights (Li et al. 2016, 'Revisiting Batch Normalization For Practical Domain
    Adaptation'). One forward pass. It fails when the class proportions of target and source differ, because the
    statistics then differ without any shift, and when the domains differ in more than the scale of their features.
    """

    uses_labels: ClassVar[bool] = False
    optimises: ClassVar[bool] = False

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network, with the rows of its head in the order of the target's classes."""
        require_known_classes(source, classes, f"{self.name} predicts with the source's head")
        if not batch_norms(source.backbone):
            name = source.description.backbone
            raise ValueError(f"adabn estimates batch-norm statistics, but the backbone {name!r} has no batch norm")
        matched_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Estimate the statistics on the target's training images."""
        estimate_statistics(network, domains.target.images)
