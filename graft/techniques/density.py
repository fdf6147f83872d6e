"""How much images of the source resemble the target's, judged by their features.

Every score here is learned from some features of both domains and is then a function of further features, (B, D) ->
(B,), positive, higher for what is more like the target; so a large source is scored a chunk at a time. All but the
nearest neighbours estimate the ratio of densities p_target(x) / p_source(x), the weight that turns a mean over the
source into one over the target (Shimodaira 2000, 'Improving predictive inference under covariate shift').

Legend: S images of the source, T of the target, B any, D features, M centres of kernels.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.techniques.logistic import logistic_regression

Score = Callable[[Tensor], Tensor]

_WIDTHS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Kernel widths that are tried, relative to the median distance between the domains' images."""
_RIDGES = (0.01, 0.1, 1.0)
_CENTRES = 100
_DIMENSIONS = 10


def density_ratio(source: Tensor, target: Tensor, *, seed: int = 0) -> Score:
    """uLSIF on the principal components of features (S, D) and (T, D).

    Kernels cannot tell much in a hundred dimensions, where all images lie equally far apart. The kernel's width and
    the ridge are those that fit best on halves of both domains that were held out.
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
    """(B, D) -> (B, 10 at most): along which the domains, as many images of each, vary most; each of variance 1."""
    count = min(len(source), len(target))
    both = torch.cat([source[:count], target[:count]])
    mean = both.mean(dim=0)
    variances, directions = torch.linalg.eigh((both - mean).T @ (both - mean) / len(both))
    kept = variances > 1e-9 * variances[-1]
    kept[:-_DIMENSIONS] = False  # they come in ascending order
    whitening = directions[:, kept] / variances[kept].sqrt()
    return lambda features: (features.double() - mean) @ whitening


def ulsif(source: Tensor, target: Tensor, centres: Tensor, width: float, ridge: float) -> Score:
    """Unconstrained least-squares importance fitting: the ratio as a sum of Gaussians at `centres` (M, D).

    With phi the M kernel values of an image: a = max(0, (E_source[phi phi'] + ridge I)^-1 E_target[phi]), and the
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
    """exp(-d / m), with d the mean cosine distance to the nearest images of the target (T, D).

    m is the median of that distance over the target's own images, each without itself: at d = m an image lies as
    near as one of the target's does. Cosine, since the length of a feature vector says more about contrast than about
    what is seen.
    """
    directions = F.normalize(target.double(), dim=1)
    own = (directions @ directions.T).fill_diagonal_(-1)
    middle = (1 - own.topk(min(neighbours, max(1, len(target) - 1)), dim=1).values.mean(dim=1)).median()
    middle = middle.clamp_min(1e-3)  # where the target's images are all alike
    count = min(neighbours, len(target))

    def score(features: Tensor) -> Tensor:
        likeness = F.normalize(features.double(), dim=1) @ directions.T
        return ((likeness.topk(count, dim=1).values.mean(dim=1) - 1) / middle).exp()

    return score


def classifier_odds(source: Tensor, target: Tensor, *, ridge: float = 0.01) -> Score:
    """The odds that a logistic regression, fitted to tell the domains apart, gives to 'target'.

    Both domains weigh the same, however many images each has, so the odds estimate the ratio of densities (Bickel,
    Brückner & Scheffer 2009, 'Discriminative Learning Under Covariate Shift'). `ridge` / 2 times the squared length of
    the weights is added to the mean loss; features are standardised by the source first.
    """
    scaled = standardiser(source)
    both, is_target = (
        torch.cat([scaled(source), scaled(target)]),
        torch.arange(len(source) + len(target)) >= len(source),
    )
    weigh = torch.where(is_target, 1 / len(target), 1 / len(source))
    # Of two classes the weights are opposite and half as long each: the penalty of both is half that of one.
    layer = logistic_regression(both, is_target.long().to(both.device), 2, decay=2 * ridge, weights=weigh)
    weight, bias = layer.weight[1] - layer.weight[0], layer.bias[1] - layer.bias[0]
    return lambda features: (scaled(features) @ weight + bias).exp()


def standardiser(features: Tensor) -> Callable[[Tensor], Tensor]:
    """Brings every feature to mean 0 and standard deviation 1 over `features` (N, D); in double precision."""
    mean = features.double().mean(dim=0)
    spread = features.double().std(dim=0, correction=0)
    spread = torch.where(spread > 1e-6, spread, 1.0)  # a feature that never varies has nothing to say
    return lambda others: (others.double() - mean) / spread


def draw_weights(scores: Tensor, groups: Tensor, share: float, sharpness: float) -> Tensor:
    """Scores (N,) -> how often each is drawn (N,): nothing outside the best `share`, score ** sharpness within it.

    The best are found within each group (N,) of images, and weigh together what their group does among all; so no
    group is lost. Sharpness 0 draws the kept ones alike, 1 in proportion to their scores.
    """
    weights = torch.zeros_like(scores)
    for group in groups.unique():
        members = (groups == group).nonzero().flatten()
        best = members[scores[members].topk(math.ceil(share * len(members))).indices]
        # The floor keeps a draw possible where all scores but a few are 0.
        relative = (scores[best] / scores[best].max().clamp_min(1e-300)).clamp_min(1e-6) ** sharpness
        weights[best] = relative * len(members) / relative.sum()
    return weights
