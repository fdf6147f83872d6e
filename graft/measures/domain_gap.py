"""Distances between two domains in a network's feature space: features of source and target images, no labels.

A difference in the class frequencies contributes to every distance here.

Legend: N source images, M target images, D features.
"""

import torch
from torch import Tensor

from graft.measures.findings import DomainGap
from graft.techniques.logistic import logistic_regression

_FOLDS = 5


def domain_gap(source: Tensor, target: Tensor, *, permutations: int = 200, seed: int = 0) -> DomainGap:
    """Compare features (N, D) and (M, D); the larger domain is subsampled to the size of the smaller one.

    Raises:
        ValueError: a domain has fewer than ten images, or the features have different sizes.
    """
    if source.ndim != 2 or source.shape[1:] != target.shape[1:]:
        raise ValueError(f"expected features of one size, got {tuple(source.shape)} and {tuple(target.shape)}")
    n = min(len(source), len(target))
    if n < 2 * _FOLDS:
        raise ValueError(f"a domain gap needs at least {2 * _FOLDS} images per domain, got {n}")
    generator = torch.Generator().manual_seed(seed)
    a, b = (split[torch.randperm(len(split), generator=generator)[:n]].double() for split in (source, target))
    error = domain_error(a, b)
    squared, p_value = mmd(a, b, permutations, generator)
    half = n // 2
    (a1, a2), (b1, b2) = ((split[:half], split[half : 2 * half]) for split in (a, b))
    return DomainGap(
        images=n,
        proxy_a_distance=proxy_a_distance(error),
        domain_error=error,
        mmd=squared,
        mmd_p_value=p_value,
        frechet=(frechet_distance(a1, b1) + frechet_distance(a2, b2)) / 2,
        frechet_within=(frechet_distance(a1, a2) + frechet_distance(b1, b2)) / 2,
    )


def proxy_a_distance(error: float) -> float:
    """2 (1 - 2 error), at least 0, for a domain classifier that is wrong on a share `error` of held-out images.

    Ben-David et al. 2007, 'Analysis of Representations for Domain Adaptation'.
    """
    return max(0.0, 2 * (1 - 2 * error))


def domain_error(source: Tensor, target: Tensor) -> float:
    """Share of images, source (N, D) and target (N, D), whose domain a linear classifier gets wrong.

    Five-fold cross-validation: the error on the training images would be near 0 for any domains as soon as there are
    about as many features as images.
    """
    wrong = 0
    for fold in range(_FOLDS):
        held_a, held_b = (torch.arange(len(split)) % _FOLDS == fold for split in (source, target))
        fitted = torch.cat([source[~held_a], target[~held_b]]).double()
        side = torch.cat([torch.ones(int((~held_a).sum())), torch.zeros(int((~held_b).sum()))]).long()
        mean, std = fitted.mean(dim=0), fitted.std(dim=0, correction=0).clamp_min(1e-12)
        # scikit-learn's default penalty, |w|^2 / 2 added to the sum of the losses, over a pair of opposite weights.
        judge = logistic_regression((fitted - mean) / std, side.to(fitted.device), 2, decay=2 / len(fitted))
        held = torch.cat([source[held_a], target[held_b]])
        says_source = (judge((held - mean) / std).argmax(dim=1) == 1).cpu()
        is_source = torch.arange(len(held)) < int(held_a.sum())
        wrong += int((says_source != is_source).sum())
    return wrong / (len(source) + len(target))


def mmd(source: Tensor, target: Tensor, permutations: int, generator: torch.Generator) -> tuple[float, float]:
    """Maximum mean discrepancy, squared and unbiased, of source (N, D) and target (M, D), and its p-value.

    Gretton et al. 2012, 'A Kernel Two-Sample Test': an RBF kernel with the median distance of all pairs as its width.
    The p-value is the share of random permutations of all images into two such groups that are at least as far apart.
    """
    pooled = torch.cat([source, target])
    squared = torch.cdist(pooled, pooled, compute_mode="donot_use_mm_for_euclid_dist").square()
    above = torch.triu_indices(len(pooled), len(pooled), offset=1)
    width = squared[above[0], above[1]].median().clamp_min(1e-30)
    kernel = torch.exp(-squared / (2 * width))
    groups = torch.zeros(permutations + 1, len(pooled), dtype=torch.double)
    groups[0, : len(source)] = 1  # the true division
    for row in groups[1:]:
        row[torch.randperm(len(pooled), generator=generator)[: len(source)]] = 1
    found = _discrepancies(kernel, groups)
    return float(found[0]), float((found[1:] >= found[0]).sum() + 1) / (permutations + 1)


def _discrepancies(kernel: Tensor, groups: Tensor) -> Tensor:
    """MMD^2 of each division (P, N + M), 1 for one group and 0 for the other, under a kernel (N + M, N + M)."""
    others = 1 - groups
    n, m = groups[0].sum(), others[0].sum()
    towards = groups @ kernel
    within = (towards * groups).sum(dim=1) - n  # without the similarity of an image to itself, 1
    across = (towards * others).sum(dim=1)
    within_others = ((others @ kernel) * others).sum(dim=1) - m
    return within / (n * (n - 1)) + within_others / (m * (m - 1)) - 2 * across / (n * m)


def frechet_distance(source: Tensor, target: Tensor) -> float:
    """Squared Fréchet distance between normal distributions fitted to features (N, D) and (M, D).

    Heusel et al. 2017, 'GANs Trained by a Two Time-Scale Update Rule': |mean difference|^2 + tr(A + B - 2 (AB)^(1/2))
    for covariances A and B. It depends on the scale of the features and is biased upwards with few images (Binkowski
    et al. 2018): compare it with the distance between two equally large samples of one domain.
    """
    a, b = (split.double() for split in (source, target))
    mean_a, mean_b = a.mean(dim=0), b.mean(dim=0)
    a, b = (a - mean_a) / (len(a) - 1) ** 0.5, (b - mean_b) / (len(b) - 1) ** 0.5
    # With A = a'a and B = b'b, the roots of the eigenvalues of AB are the singular values of ab'.
    shared = torch.linalg.matrix_norm(a @ b.T, "nuc")
    distance = (mean_a - mean_b).square().sum() + a.square().sum() + b.square().sum() - 2 * shared
    return max(0.0, float(distance))
