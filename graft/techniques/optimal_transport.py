"""A distance between two labelled sets of features that also works if their classes are entirely different.

Legend: N M feature vectors of source and target, D their dimensions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_ROUNDS = 50
_SMOOTHING = 0.05
"""Entropic regularisation, as a share of the mean cost."""


def dataset_distance(source: Tensor, source_labels: Tensor, target: Tensor, target_labels: Tensor) -> Tensor:
    """Optimal transport dataset distance of features (N, D) and (M, D) with labels (N,) and (M,).

    The cost of moving a feature vector is the squared distance plus the squared 2-Wasserstein distance between the two
    classes, each modelled as a Gaussian with diagonal covariance (Alvarez-Melis & Fusi 2020, 'Geometric Dataset
    Distances via Optimal Transport'). So the two sets need not share any class.
    """
    features = torch.cdist(source, target).square()
    classes = torch.cdist(_gaussians(source, source_labels), _gaussians(target, target_labels)).square()
    cost = features + classes
    return (transport_plan(cost.detach()) * cost).sum()


def transport_plan(cost: Tensor, smoothing: float = _SMOOTHING, rounds: int = _ROUNDS) -> Tensor:
    """The entropy-regularised transport plan (N, M) between uniform masses for a cost (N, M); its entries sum to 1.

    Sinkhorn iterations in log space (Cuturi 2013, 'Sinkhorn Distances'; Peyré & Cuturi 2019).
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
    """(N, 2 D): mean and standard deviation of each vector's class; their Euclidean distance is 2-Wasserstein."""
    index = labels.unique(return_inverse=True)[1]
    members = F.one_hot(index).to(features.dtype)
    count = members.sum(dim=0)[:, None]
    mean = members.T @ features / count
    spread = (members.T @ (features - mean[index]).square() / count + 1e-12).sqrt()
    return torch.cat([mean, spread], dim=1)[index]
