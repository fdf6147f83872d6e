"""Few labels and an unlabelled pool: fine-tuning that also learns from its own confident, balanced answers."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from graft.contract import ParameterGroup, Step, Strategy
from graft.data.augment import augment
from graft.data.source_labels import SourceLabels
from graft.data.split import Domains
from graft.networks.batch_norm import statistics_kept
from graft.networks.heads import fresh_head
from graft.networks.network import Network
from graft.settings import Augmentation, Fraction, Searched
from graft.techniques.probe import probed_head, remember_head

_STRONG = Augmentation(policy=0.5, drop=0.2)
"""On top of the budget's augmentation."""
_MEMORY = 0.9
"""Share of the old value in a running mean of answers."""


class _Shares(nn.Module):
    """Running means (K,) of the answers for labelled and unlabelled images."""

    labelled: Tensor
    unlabelled: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        for name in ("labelled", "unlabelled"):
            self.register_buffer(name, torch.full((classes,), 1 / classes))

    def aligned(self, labelled: Tensor, unlabelled: Tensor) -> Tensor:
        """The answers (B, K) for unlabelled images, with shares like those for labelled ones."""
        self.labelled.lerp_(labelled.mean(dim=0), 1 - _MEMORY)
        self.unlabelled.lerp_(unlabelled.mean(dim=0), 1 - _MEMORY)
        found = unlabelled * self.labelled / self.unlabelled.clamp_min(1e-6)
        return found / found.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class Adamatch(Strategy):
    """From a linear probe, tune on labels, on source images, and on confident answers to unlabelled images.

    Minimises (1 - s) L_target + s L_source + w u(t) L_pool. L_pool is the mean over a batch of the pool of 1[max p >= c
    m] CE(strong view, argmax p): p is the answer for the weakly augmented image, with shares of the classes like those
    of the labelled images; m is the mean confidence on the labelled batch; u rises from 0 to 1 in the first half
    (Berthelot et al. 2022, 'AdaMatch: A Unified Approach to Semi-Supervised Learning and Domain Adaptation'; after Sohn
    et al. 2020, 'FixMatch'). Each step costs four passes. It fails where the first answers are mostly wrong, which
    training then confirms: the folds tell.
    """

    source_is_optional: ClassVar[bool] = True

    weight: Annotated[float, Ge(0.0), Searched(0.1, 3.0)] = 1.0
    """Weight w of the pool's loss."""
    threshold: Annotated[float, Gt(0.0), Le(1.0)] = 0.9
    """c: how confident an answer has to be that is learned from, relative to those for labelled images."""
    source_share: Fraction = 0.3
    """Weight s of the source's loss, if there are source images of the target's classes."""
    rate: Annotated[float, Gt(0.0)] = 0.3
    """Learning rate, as a multiple of the budget's: it starts near its goal."""

    @property
    def uses_source_data(self) -> bool:
        """If `source_share` is above zero."""
        return self.source_share > 0

    @property
    def uses_unlabelled(self) -> bool:
        """Always: the whole pool."""
        return True

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a head for the target's classes."""
        remember_head(source)
        source.extras["shares"] = _Shares(len(classes))
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit the probe, and find the source's classes among the target's."""
        probed_head(network, domains)
        if domains.source and set(domains.source.classes) & set(domains.target.classes):
            labels = SourceLabels(domains.source.classes, domains.target.classes)
            network.extras["source_labels"] = labels.to(network.head.weight.device)

    def source_weights(self, network: Network, domains: Domains) -> Tensor | None:
        """0 for source images of classes that the target lacks."""
        labels = network.extra("source_labels")
        return labels.weights(domains.source.labels) if domains.source and isinstance(labels, SourceLabels) else None

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """All weights at `rate`."""
        return [ParameterGroup([p for p in network.parameters() if p.requires_grad], self.rate)]

    def loss(self, network: Network, step: Step) -> Tensor:
        """The loss on labels, on source images and on the pool; the target's labelled images alone set batch norm."""
        logits = network(step.target.images)
        loss = step.target.cross_entropy(logits)
        with statistics_kept(network.backbone):
            if (known := network.extra("source_labels")) is not None:
                batch = replace(step.source, labels=known(step.source.labels))
                of_source = batch.cross_entropy(network(batch.images))
                loss = (1 - self.source_share) * loss + self.source_share * of_source
            return loss + self.weight * _risen(step.progress) * self._pool_loss(network, step, logits)

    def _pool_loss(self, network: Network, step: Step, logits: Tensor) -> Tensor:
        weak = step.unlabelled.images
        with torch.no_grad():
            sure = logits.softmax(dim=1)
            answers = cast(_Shares, network.extras["shares"]).aligned(sure, network(weak).softmax(dim=1))
            confidence, labels = answers.max(dim=1)
            learned = confidence >= self.threshold * sure.amax(dim=1).mean()
        strong = augment(weak, _STRONG, torch.default_generator)
        losses = F.cross_entropy(network(strong), labels, reduction="none")
        return (losses * learned).mean()


def _risen(progress: float) -> float:
    """u: from 0 to 1 in the first half of training, then 1."""
    return (1 - math.cos(min(math.pi, 2 * math.pi * progress))) / 2
