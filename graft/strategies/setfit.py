"""Shared architecture: features of one class are drawn together, and a probe is fitted to them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from graft.contract import ParameterGroup, Step, Strategy
from graft.data.on_disk import in_memory
from graft.data.source_labels import SourceLabels
from graft.data.split import Domains, Split
from graft.networks.heads import fresh_head
from graft.networks.network import Frozen, Network, predict
from graft.settings import Fraction, Searched
from graft.techniques.probe import fit_probe

_LABELLED, _SOURCE_LABELS, _SOURCE_HEAD = "labelled", "source_labels", "source_head"


@dataclass(frozen=True)
class Setfit(Strategy):
    """Tune the body so that two features have cosine 1 if their labels are equal and 0 if not; then fit a probe.

    Minimises the mean of (cos(f(x), f(x')) - [y = y'])² over the pairs of a batch, with equal and unequal ones of equal
    weight, + CE(W f(x) + b, y) with f fixed (Tunstall et al. 2022, 'Efficient Few-Shot Learning Without Prompts'; all
    pairs of a batch instead of a sample, and the head learns along). n labels give n² / 2 pairs, so a few train all
    weights. The folds choose between that head and a linear probe on the tuned features, which may start from the
    source's head. It fails where a class has several unlike kinds, which are drawn together all the same, and at a rate
    that moves the features too far.
    """

    rate: Annotated[float, Gt(0.0), Searched(0.03, 1.0)] = 0.1
    """Learning rate of the body, as a multiple of the budget's: an encoder is near its goal, and more spoils it."""
    head_rate: Annotated[float, Gt(0.0)] = 3.0
    """Learning rate of the head, as a multiple of the budget's."""
    source_share: Fraction = 0.0
    """Share of the loss that source pairs have: pairs of a target and a source image, and of two of the source, of the
    target's classes. 0 leaves the source out."""

    @property
    def uses_source_data(self) -> bool:
        """If `source_share` is above zero."""
        return self.source_share > 0

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a head for the target's classes."""
        if source.description.classes:
            source.extras[_SOURCE_HEAD] = Frozen(source.head)
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit a probe, and remember what the last one will be fitted to."""
        _fit_probe(network, domains.target)
        network.extras[_LABELLED] = _Labelled(domains.target)
        if domains.source is not None:
            translate = SourceLabels(domains.source.classes, domains.target.classes)
            network.extras[_SOURCE_LABELS] = translate.to(domains.source.labels.device)

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The head and the body."""
        return [
            ParameterGroup(list(network.head.parameters()), self.head_rate),
            ParameterGroup(list(network.backbone.parameters()), self.rate),
        ]

    def loss(self, network: Network, step: Step) -> Tensor:
        """The pairs of the target's batch, those with the source's batch, and the head's own loss."""
        target = network.features(step.target.images)
        own = step.target.cross_entropy(network.head(target.detach()))
        pairs = pair_loss(target, step.target.labels)
        if self.uses_source_data:
            labels = network.extras[_SOURCE_LABELS](step.source.labels)
            known = labels >= 0
            both = torch.cat([target, network.features(step.source.images)[known]])
            every = torch.cat([step.target.labels, labels[known]])
            pairs = (1 - self.source_share) * pairs + self.source_share * pair_loss(both, every)
        return pairs + own

    def choices(self, network: Network) -> dict[str, Callable[[], None]]:
        """A probe on the tuned features in place of the head."""
        labelled = cast(_Labelled, network.extras[_LABELLED])
        return {"probe": partial(_fit_probe, network, labelled.split())}


def _fit_probe(network: Network, training: Split) -> None:
    """Give the network's head the weights of a probe on its features, which may start from the source's head."""
    network.eval()
    known = cast(Frozen | None, network.extra(_SOURCE_HEAD))
    features = predict(network, training.images)[1].to(training.labels.device)
    found = fit_probe(replace(training, images=features), cast(nn.Linear, known.module) if known else None)
    network.head.load_state_dict(found.state_dict())


class _Labelled(nn.Module):
    """The labelled images, which the network's extras hold until the last probe has been fitted."""

    images: Tensor
    labels: Tensor

    def __init__(self, split: Split) -> None:
        super().__init__()
        self._split = replace(split, images=split.labels, labels=split.labels)
        self.register_buffer("images", in_memory(split.images))
        self.register_buffer("labels", split.labels)

    def split(self) -> Split:
        """As it was."""
        return replace(self._split, images=self.images, labels=self.labels)


def pair_loss(features: Tensor, labels: Tensor) -> Tensor:
    """The mean of (cosine - 1)² over pairs of features (B, D) with equal labels (B,) plus that of cosine² over those
    with unequal ones, halved; pairs of one image with itself are left out."""
    unit = F.normalize(features, dim=1)
    equal = labels[:, None] == labels
    away = (unit @ unit.T - equal.to(unit.dtype)).square()
    alone = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    kinds = [pairs for pairs in (equal & ~alone, ~equal) if pairs.any()]
    means = [away[pairs].mean() for pairs in kinds]
    return torch.stack(means).mean() if means else away.sum() * 0
