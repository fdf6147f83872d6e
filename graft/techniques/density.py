"""Scores of how much source images resemble the target's, computed from their features.

Every score is fitted to features of both domains and is then a function of further features, (B, D) -> (B,), positive,
higher for images that are more like the target; so a large source is scored in chunks. All but the nearest neighbours
estimate the density ratio p_target(x) / p_source(x), the weight that turns a mean over the source into one over the
target (Shimodaira 2000, 'Improving predictive inference under covariate shift').

Legend: S source images, T target images, B images of either, D features, M kernel centres.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.techniques.logistic import logistic_regression

Score = Callable[[Tensor], Tensor]

_WIDTHS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Kernel widths to try, relative to the median distance between images of the two domains."""
_RIDGES = (0.01, 0.1, 1.0)
_CENTRES = 100
_DIMENSIONS = 10


def density_ratio(source: Tensor, target: Tensor, *, seed: int = 0) -> Score:
    """uLSIF on the principal components of features (S, D) and (T, D).

    Kernels are of little use in a hundred dimensions, where all images are about equally far apart. The kernel width
    and the ridge are selected on a held-out half of both domains.
    """
    generator = torch.Generator().manual_seed(seed)
    source, target = (x[torch.randperm(len(x), generator=generator)].double() for x in (source, target))
    reduced = _principal_components(source, target)
    source, target = reduced(source), reduced(target)
    centres = target[:_CENTRES]
    middle = torch.cdist(source[:1000], centres).median().clamp_min(1e-6).item()

    def held_out_loss(width: float, ridge: float) -> float:
        ratio = ulsif(source[::2], target[::2], centres, width, ridge)
        return (ratio(source[1::2]).square().mean() / 2 - ratio(target[1::2]).mean()).item()

    choices = [(width * middle, ridge) for width in _WIDTHS for ridge in _RIDGES]
    width, ridge = min(choices, key=lambda choice: held_out_loss(*choice))
    ratio = ulsif(source, target, centres, width, ridge)
    return lambda features: ratio(reduced(features))


def _principal_components(source: Tensor, target: Tensor) -> Callable[[Tensor], Tensor]:
    """(B, D) -> (B, at most 10): whitened principal components of both domains, with equally many images of each."""
    count = min(len(source), len(target))
    both = torch.cat([source[:count], target[:count]])
    mean = both.mean(dim=0)
    variances, directions = torch.linalg.eigh((both - mean).T @ (both - mean) / len(both))
    kept = variances > 1e-9 * variances[-1]
    kept[:-_DIMENSIONS] = False  # eigenvalues are in ascending order
    whitening = directions[:, kept] / variances[kept].sqrt()
    return lambda features: (features.double() - mean) @ whitening


def ulsif(source: Tensor, target: Tensor, centres: Tensor, width: float, ridge: float) -> Score:
    """Unconstrained least-squares importance fitting: the ratio as a sum of Gaussians at `centres` (M, D).

    With phi the M kernel values of an image, a = max(0, (E_source[phi phi'] + ridge I)^-1 E_target[phi]), and the
    ratio is a' phi (Kanamori, Hido & Sugiyama 2009, 'A Least-squares Approach to Direct Importance Estimation').
    """
    centres = centres.double()

    def kernels(features: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(features.double(), centres).square() / (2 * width**2))

    of_source = kernels(source)
    second_moment = of_source.T @ of_source / len(source)
    system = second_moment + ridge * torch.eye(len(centres), dtype=torch.double, device=centres.device)
    amplitudes = torch.linalg.solve(system, kernels(target).mean(dim=0)).clamp_min(0)
    return lambda features: kernels(features) @ amplitudes


def nearest_neighbours(target: Tensor, *, neighbours: int = 5) -> Score:
    """exp(-d / m), with d the mean cosine distance to the nearest target images (T, D).

    m is the median of that distance over the target's own images, each without itself: at d = m an image is as close as
    a typical target image. Cosine distance, because the length of a feature vector depends more on contrast than on
    content.
    """
    directions = F.normalize(target.double(), dim=1)
    own = (directions @ directions.T).fill_diagonal_(-1)
    middle = (1 - own.topk(min(neighbours, max(1, len(target) - 1)), dim=1).values.mean(dim=1)).median()
    middle = middle.clamp_min(1e-3)  # in case all target images are the same
    count = min(neighbours, len(target))

    def score(features: Tensor) -> Tensor:
        likeness = F.normalize(features.double(), dim=1) @ directions.T
        return ((likeness.topk(count, dim=1).values.mean(dim=1) - 1) / middle).exp()

    return score


def classifier_odds(source: Tensor, target: Tensor, *, ridge: float = 0.01) -> Score:
    """The odds of 'target' under a logistic regression that classifies the domain.

    Both domains have the same total weight, whatever their sizes, so the odds estimate the density ratio (Bickel,
    Brückner & Scheffer 2009, 'Discriminative Learning Under Covariate Shift'). `ridge` / 2 times the squared norm of
    the weights is added to the mean loss; features are first standardised with the source's statistics.
    """
    scaled = standardiser(source)
    both, is_target = (
        torch.cat([scaled(source), scaled(target)]),
        torch.arange(len(source) + len(target)) >= len(source),
    )
    weigh = torch.where(is_target, 1 / len(target), 1 / len(source))
    # With two classes, the weights are opposite and half as long: the penalty of both is half that of one.
    layer = logistic_regression(both, is_target.long().to(both.device), 2, decay=2 * ridge, weights=weigh)
    weight, bias = layer.weight[1] - layer.weight[0], layer.bias[1] - layer.bias[0]
    return lambda features: (scaled(features) @ weight + bias).exp()


def standardiser(features: Tensor) -> Callable[[Tensor], Tensor]:
    """Scales every feature to mean 0 and standard deviation 1 over `features` (N, D); in double precision."""
    mean = features.double().mean(dim=0)
    spread = features.double().std(dim=0, correction=0)
    spread = torch.where(spread > 1e-6, spread, 1.0)  # leaves constant features at 0
    return lambda others: (others.double() - mean) / spread


def draw_weights(scores: Tensor, groups: Tensor, share: float, sharpness: float) -> Tensor:
    """Scores (N,) -> sampling weights (N,): 0 outside the best `share`, proportional to score ** sharpness within it.

    The best are selected within each group (N,) of images and together keep the group's share of all images, so no
    group is lost. Sharpness 0 samples the kept images uniformly, 1 in proportion to their scores.
    """
    weights = torch.zeros_like(scores)
    for group in groups.unique():
        members = (groups == group).nonzero().flatten()
        best = members[scores[members].topk(math.ceil(share * len(members))).indices]
        # The floor keeps sampling possible if almost all scores are 0.
        relative = (scores[best] / scores[best].max().clamp_min(1e-300)).clamp_min(1e-6) ** sharpness
        weights[best] = relative * len(members) / relative.sum()
    return weights
