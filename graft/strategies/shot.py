"""Unlabelled target: from the source's weights alone, without its images; the head stays, the features move."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from graft.contract import ParameterGroup, Step, Strategy
from graft.data.split import Domains
from graft.networks.heads import matched_head, require_known_classes
from graft.networks.network import Network, predict
from graft.settings import Searched
from graft.techniques.label_free import label_free_score

_MEMORY = 0.99
"""Share of the old value in a running mean of a class's direction."""
_ROUNDS = 2
"""Of k-means before the first step, as there."""


class _Centroids(nn.Module):
    """The mean directions (K, D) of the features of each class, by the answers of the network itself."""

    directions: Tensor

    def __init__(self, features: Tensor, probabilities: Tensor) -> None:
        super().__init__()
        found = _means(features, probabilities)
        for _ in range(_ROUNDS - 1):
            nearest = (F.normalize(features, dim=1) @ found.T).argmax(dim=1)
            found = _means(features, F.one_hot(nearest, probabilities.shape[1]).to(probabilities), found)
        self.register_buffer("directions", found)

    def nearest(self, features: Tensor) -> Tensor:
        """(B,): the class whose mean direction is nearest to that of features (B, D)."""
        return (F.normalize(features, dim=1) @ self.directions.T).argmax(dim=1)

    def follow(self, features: Tensor, probabilities: Tensor) -> None:
        """Move towards the means of a batch, each as far as the batch has images of its class."""
        share = (1 - _MEMORY) * probabilities.sum(dim=0).clamp_max(1)[:, None]
        moved = torch.lerp(self.directions, _means(features, probabilities, self.directions), share)
        self.directions.copy_(F.normalize(moved, dim=1))


def _means(features: Tensor, probabilities: Tensor, otherwise: Tensor | None = None) -> Tensor:
    """Mean directions (K, D) of features (N, D), weighted with probabilities (N, K); `otherwise` for a class without
    weight."""
    found = F.normalize(probabilities.T @ F.normalize(features, dim=1), dim=1)
    if otherwise is None:
        return found
    return torch.where(probabilities.sum(dim=0)[:, None] > 0, found, otherwise)


@dataclass(frozen=True)
class Shot(Strategy):
    """Keep the source's head, and move the features until its answers for the target are sure, varied and clustered.

    Minimises mean H(p) - H(mean p) + `weight` CE(p, y) over unlabelled target images, with the head frozen: sure of
    each image, of all classes alike over all images, and y the class whose mean direction of features is nearest
    (Liang, Hu & Feng 2020, 'Do We Really Need to Access the Source Data? Source Hypothesis Transfer for Unsupervised
    Domain Adaptation'). There y is renewed once per epoch, here the means follow every batch. Needs the weights of the
    source and none of its images. It fails where the head's first answers are mostly wrong, and where the target's
    classes are far from equally frequent.
    """

    uses_labels: ClassVar[bool] = False
    moves_batch_norm: ClassVar[bool] = True

    weight: Annotated[float, Ge(0.0), Searched(0.03, 1.0)] = 0.3
    """Weight of the cross-entropy with the nearest means' classes."""
    rate: Annotated[float, Gt(0.0)] = 0.3
    """Learning rate, as a multiple of the budget's."""
    selection: Literal["guarded_snd", "snd", "entropy", "last"] = "guarded_snd"
    """How the weights are selected without labels (`graft.techniques.label_free`): by soft neighbourhood density, with
    a guard against collapse or without (snd), by entropy, or the last ones."""

    @property
    def label_free_selection(self) -> Literal["guarded_snd", "snd", "entropy", "last"]:
        """The knob `selection`."""
        return self.selection

    def label_free_score(self, network: Network, domains: Domains) -> float | None:
        """The score of the rule `selection`."""
        return label_free_score(self.selection, network, domains)

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network, with the rows of its head in the order of the target's classes, frozen."""
        require_known_classes(source, classes, f"{self.name} predicts with the source's head")
        matched_head(source, classes)
        source.head.requires_grad_(False)
        return source

    @torch.no_grad()
    def begin(self, network: Network, domains: Domains) -> None:
        """Find where the classes lie among the target's features."""
        network.eval()
        probabilities, features = predict(network, domains.target.images)
        network.extras["centroids"] = _Centroids(features, probabilities).to(network.mean.device)

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The backbone."""
        return [ParameterGroup(list(network.backbone.parameters()), self.rate)]

    def loss(self, network: Network, step: Step) -> Tensor:
        """Entropy of each answer, minus that of their mean, plus the cross-entropy with the nearest classes."""
        features = network.features(step.target.images)
        logits = network.head(features)
        p = logits.softmax(dim=1)
        with torch.no_grad():
            centroids = cast(_Centroids, network.extras["centroids"])
            labels = centroids.nearest(features)
            centroids.follow(features, p)
        information: Tensor = torch.special.entr(p.mean(dim=0)).sum() - torch.special.entr(p).sum(dim=1).mean()
        return self.weight * F.cross_entropy(logits, labels) - information

    def finish(self, network: Network) -> Network:
        """The network, with all weights unfrozen."""
        network.requires_grad_(True)
        return super().finish(network)
