"""How far two labelled sets of features lie apart, classes included, where the classes have nothing in common.

Legend: N M features of source and target, D their dimensions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_ROUNDS = 50
_SMOOTHING = 0.05
"""Entropic regularisation, as a share of the mean cost."""


def dataset_distance(source: Tensor, source_labels: Tensor, target: Tensor, target_labels: Tensor) -> Tensor:
    """Optimal transport dataset distance of features (N, D) and (M, D) with labels (N,) and (M,).

    The cost of moving a feature is its squared distance plus the squared 2-Wasserstein distance of the two classes,
    each taken for a Gaussian with a diagonal covariance (Alvarez-Melis & Fusi 2020, 'Geometric Dataset Distances via
    Optimal Transport'). So no class of one set need be a class of the other.
    """
    features = torch.cdist(source, target).square()
    classes = torch.cdist(_gaussians(source, source_labels), _gaussians(target, target_labels)).square()
    cost = features + classes
    return (transport_plan(cost.detach()) * cost).sum()


def transport_plan(cost: Tensor, smoothing: float = _SMOOTHING, rounds: int = _ROUNDS) -> Tensor:
    """The plan (N, M) that moves even masses at a low cost (N, M), smoothed by entropy; its entries add up to one.

    Sinkhorn's rounds in the logarithm (Cuturi 2013, 'Sinkhorn Distances'; Peyré & Cuturi 2019).
    """
    log_kernel = -cost / (smoothing * cost.mean().clamp_min(1e-12))
    rows = torch.full((len(cost),), 1 / len(cost), device=cost.device).log()
    columns = torch.full((cost.shape[1],), 1 / cost.shape[1], device=cost.device).log()
    left, right = torch.zeros_like(rows), torch.zeros_like(columns)
    for _ in range(rounds):
        left = rows - (log_kernel + right).logsumexp(dim=1)
        right = columns - (log_kernel + left[:, None]).logsumexp(dim=0)
    return (log_kernel + left[:, None] + right).exp()


def _gaussians(features: Tensor, labels: Tensor) -> Tensor:
    """(N, 2 D): mean and standard deviation of each feature's class; their distance is the Gaussians'."""
    index = labels.unique(return_inverse=True)[1]
    members = F.one_hot(index).to(features.dtype)
    count = members.sum(dim=0)[:, None]
    mean = members.T @ features / count
    spread = (members.T @ (features - mean[index]).square() / count + 1e-12).sqrt()
    return torch.cat([mean, spread], dim=1)[index]
