"""Few labels and an unlabelled pool: labels spread to neighbours among frozen features; a head learns from them."""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from graft.data.on_disk import in_memory
from graft.data.split import Domains
from graft.networks.network import Network
from graft.settings import Searched
from graft.techniques.head_only import HeadOnly
from graft.techniques.logistic import logistic_regression
from graft.techniques.probe import best_choice
from graft.techniques.span import Span

_MOST = 4000
"""Unlabelled images in the graph, at most: its matrix has the square of that many entries."""


@dataclass(frozen=True)
class LabelPropagation(HeadOnly):
    """Spread the labels along a graph of nearest neighbours, and fit a linear head to what arrives.

    Solves F = (I - a S)^-1 Y, with S the normalised affinities of k nearest neighbours by the cosine of their features
    and Y the labels (Zhou et al. 2004, 'Learning with Local and Global Consistency'), then fits a logistic regression
    to the labelled images and to argmax F of the pool, each with the weight `weight` times its certainty, 1 minus the
    normalised entropy (Iscen et al. 2019, 'Label Propagation for Deep Semi-supervised Learning'). It fails where
    neighbours often have other labels; with few labels per class one wrong bridge takes a whole cluster.
    """

    neighbours: Annotated[int, Ge(1), Searched(5, 50)] = 10
    """k: how many nearest neighbours of each image are joined to it."""
    alpha: Annotated[float, Gt(0.0), Lt(1.0)] = 0.9
    """a: how far labels spread; near 1, over the whole graph."""
    weight: Annotated[float, Gt(0.0)] = 0.3
    """Weight of an unlabelled image of which the graph is certain, relative to a labelled one."""

    @property
    def uses_unlabelled(self) -> bool:
        """Always: the whole pool."""
        return True

    @torch.no_grad()
    def begin(self, network: Network, domains: Domains) -> None:
        """Spread the labels and fit the head."""
        assert domains.unlabelled is not None
        labelled, classes = domains.target, len(domains.target.classes)
        known, pool = in_memory(labelled.images), in_memory(domains.unlabelled.images)
        pool = pool[torch.linspace(0, len(pool) - 1, min(len(pool), _MOST)).round().long()]
        features = torch.cat([known, pool])
        given = F.one_hot(labelled.labels, classes).double()
        arrived = spread(features, given, self.neighbours, self.alpha)[len(known) :]
        shares = arrived / arrived.sum(dim=1, keepdim=True).clamp_min(1e-12)
        certain = 1 + torch.special.xlogy(shares, shares).sum(dim=1) / torch.tensor(float(classes)).log()
        certain[arrived.sum(dim=1) <= 0] = 0  # no label reached it
        span = Span(features)
        head = logistic_regression(
            span.coordinates,
            torch.cat([labelled.labels, shares.argmax(dim=1)]),
            classes,
            decay=best_choice(labelled).strength,
            weights=torch.cat([torch.ones_like(certain[:1]).expand(len(known)), self.weight * certain]),
        )
        network.head.load_state_dict(span.on_features(head).state_dict())


def spread(features: Tensor, given: Tensor, neighbours: int, alpha: float) -> Tensor:
    """(N, K): F = (I - a S)^-1 Y for features (N, D), of which the first M have the labels `given` (M, K)."""
    directions = F.normalize(features.double(), dim=1)
    affinity = directions @ directions.T
    affinity.fill_diagonal_(-torch.inf)
    near, places = affinity.topk(min(neighbours, len(features) - 1), dim=1)
    graph = torch.zeros_like(affinity).scatter(1, places, near.clamp_min(0))
    graph = torch.maximum(graph, graph.T)
    degree = graph.sum(dim=1).clamp_min(1e-12).rsqrt()
    smooth = degree[:, None] * graph * degree
    start = torch.zeros(len(features), given.shape[1], dtype=torch.double, device=features.device)
    start[: len(given)] = given
    found: Tensor = torch.linalg.solve(torch.eye(len(features)).to(smooth) - alpha * smooth, start)
    return found.clamp_min(0)
