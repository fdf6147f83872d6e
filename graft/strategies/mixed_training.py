"""Model level: one network is trained on source and target images together."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from graft.contract import Batch, ParameterGroup, Step, Strategy
from graft.data.source_labels import SourceLabels
from graft.data.split import Domains
from graft.networks.batch_norm import statistics_kept
from graft.networks.heads import matched_head, some_of
from graft.networks.network import Network
from graft.settings import Searched
from graft.techniques.alignment import build_alignment
from graft.techniques.alignment.base import Outputs


@dataclass(frozen=True)
class MixedTraining(Strategy):
    """Train on batches of source and target images, with a source share that falls during training.

    Minimises (1 - s) L_target + s L_source over shared features, with s changing from `source_share` to
    `final_source_share` (Ben-David et al. 2010, 'A theory of learning from different domains', section 5, bound the
    error of such convex combinations), plus an optional weighted alignment loss between the domains' features
    (`graft.techniques.alignment`). The source's labels keep the network from overfitting the target's few. It fails
    when the domains are far apart and a single set of features cannot serve both."""

    source_share: Annotated[float, Ge(0.0), Le(1.0), Searched(0.1, 0.9)] = 0.5
    """Weight s of the source's loss at the first step."""
    final_source_share: Annotated[float, Ge(0.0), Le(1.0)] = 0.0
    """Weight s of the source's loss at the last step; unused with a constant schedule."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How s changes from the first value to the last; constant stays at the first."""
    ratio: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    """Source images per target image in a step; fewer take less time."""
    heads: Literal["auto", "one", "two"] = "auto"
    """One head for both domains, or one each; auto: one if the classes are the same. One head for different classes
    is trained only on source images of the shared classes."""
    start: Literal["source", "random"] = "source"
    """Start from the pretrained weights, or from random ones."""
    alignment: Literal["none", "mmd", "coral", "dann", "cdan", "mcc"] = "none"
    """Alignment loss between the domains."""
    alignment_weight: Annotated[float, Ge(0.0)] = 1.0
    """Weight of the alignment loss. Their scales differ: CORAL needs about 100 times the weight of the others."""
    align_on: Literal["unlabelled", "labelled"] = "unlabelled"
    """Target images to align: the whole pool without its labels (one more pass), or the few labelled ones."""
    discriminator_rate: Annotated[float, Gt(0.0)] = 1.0
    """Learning rate of the discriminator of dann and cdan, relative to the network's."""

    @property
    def uses_source_data(self) -> bool:
        """Always: it trains on source batches."""
        return True

    @property
    def uses_unlabelled(self) -> bool:
        """If the domains are aligned on unlabelled images."""
        return self.alignment != "none" and self.align_on == "unlabelled"

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network, or a new one like it, with one head or two."""
        network = source if self.start == "source" else Network(source.description)
        known = source.description.classes
        if self.heads == "two" or (self.heads == "auto" and set(classes) != set(known)):
            network.extras["source_head"] = network.head
            matched_head(network, classes)
        elif classes != known:
            if not set(classes) & set(known):
                raise ValueError(
                    "mixed_training with one head needs a class that both domains have, but they share none: "
                    f"{some_of(classes)} (the source has: {some_of(known)}); use two heads"
                )
            network.extras["source_labels"] = SourceLabels(known, classes)
            matched_head(network, classes)
        else:
            network.set_head(network.head, classes)
        if self.alignment != "none":
            network.extras["alignment"] = build_alignment(self.alignment, network.feature_size, len(classes))
        return network

    def source_weights(self, network: Network, domains: Domains) -> Tensor | None:
        """0 for source images of classes that a single head does not have."""
        assert domains.source is not None
        translate = network.extra("source_labels")
        return translate.weights(domains.source.labels) if isinstance(translate, SourceLabels) else None

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """All weights; those of a discriminator at their own rate."""
        aligned = network.extra("alignment") or nn.Identity()
        own = {id(p) for p in aligned.parameters()}
        groups = [ParameterGroup([p for p in network.parameters() if id(p) not in own])]
        return [*groups, ParameterGroup(list(aligned.parameters()), self.discriminator_rate)] if own else groups

    def loss(self, network: Network, step: Step) -> Tensor:
        """The domains pass in separate batches; only target images update batch norm's running statistics."""
        share, batch = self.share(step.progress), self._source(network, step)
        target = network.features(step.target.images)
        target_loss = step.target.cross_entropy(network.head(target))
        with statistics_kept(network.backbone):
            source = network.features(batch.images)
        source_loss = batch.cross_entropy((network.extra("source_head") or network.head)(source))
        loss = (1 - share) * target_loss + share * source_loss
        if self.alignment == "none":
            return loss
        if self.uses_unlabelled:
            target = network.features(step.unlabelled.images)
        outputs = [Outputs(features, network.head(features)) for features in (source, target)]
        aligned: Tensor = network.extras["alignment"](*outputs, step.progress)
        return loss + self.alignment_weight * aligned

    def share(self, progress: float) -> float:
        """The source's share s at a progress from 0 to 1."""
        passed = {"linear": progress, "cosine": (1 - math.cos(math.pi * progress)) / 2, "constant": 0.0}[self.schedule]
        return self.source_share + (self.final_source_share - self.source_share) * passed

    def _source(self, network: Network, step: Step) -> Batch:
        """The source's part of a step: as many images as `ratio` says, with labels as their head numbers them."""
        least = 1 if self.alignment == "none" else 2  # a single image has no variance to align
        count = max(least, math.ceil(self.ratio * len(step.target.labels)))
        labels = step.source.labels[:count]
        translate = network.extra("source_labels")
        return replace(
            step.source,
            images=step.source.images[:count],
            labels=labels if translate is None else translate(labels),
        )
