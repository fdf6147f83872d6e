"""Transferability scores: how well a source model's features and predictions suit a target.

One forward pass over labelled target images, without training a network. The scores rank models: a single value means
little without that of another model, such as a random backbone of the same architecture. Computed in float64.

Legend: N images, D features, R = min(N, D), S source classes, K target classes that occur.
"""

import math

import torch
from torch import Tensor

_ITERATIONS = 100
_TOLERANCE = 1e-5
_PLACES = 65
_FARTHEST = 1e8
"""Bound of the ratio of the precisions, on either side: where the evidence still grows there, this value is used."""


def logme(features: Tensor, labels: Tensor) -> float:
    """Log evidence per image of Bayesian linear regression from features (N, D) to labels (N,), mean over classes.

    You et al. 2021, 'LogME: Practical Assessment of Pre-trained Models for Transfer Learning': for each class, y = Fw
    + noise with w ~ N(0, 1/a), noise ~ N(0, 1/b), and a, b that maximise the evidence. It penalises a fit that needs
    large weights, so it also works with fewer images than features. Computed by the fixed-point iteration of You et
    al. 2022 ('Ranking and Tuning Pre-trained Models'), here over t = a / b only: the best b for a given t is known,
    and with it the evidence is exact at every t. The score does not depend on the scale of the features.

    Raises:
        ValueError: the shapes do not match, or the labels have fewer than two classes.
    """
    _check(features, labels)
    f = features.double()
    f = f / f.square().mean().sqrt().clamp_min(1e-30)
    y = _one_hot(labels)
    left, sizes, _ = torch.linalg.svd(f, full_matrices=False)
    strength = sizes.square()[:, None]  # (R, 1)
    inside = (left.T @ y).square()  # (R, K): squared projection of each class's labels on each feature direction
    outside = (y.sum(dim=0) - inside.sum(dim=0)).clamp_min(0)  # (K,)
    n = len(y)

    def evidence(ratio: Tensor) -> Tensor:  # (K,), at a / b = ratio
        spread = (inside * ratio / (strength + ratio)).sum(dim=0) + outside  # y' (I + FF'/t)^-1 y
        log_b = math.log(n) - spread.clamp_min(1e-30).log()
        found: Tensor = n / 2 * (log_b - math.log(2 * math.pi) - 1) - (strength / ratio).log1p().sum(dim=0) / 2
        return found

    # The evidence can have several maxima, and the iteration finds the nearest one: start near the highest.
    places = torch.logspace(-math.log10(_FARTHEST), math.log10(_FARTHEST), _PLACES, dtype=torch.float64)
    heights = torch.stack([evidence(place.expand_as(outside)) for place in places])
    ratio = places[heights.argmax(dim=0)]
    for _ in range(_ITERATIONS):
        used = (strength / (strength + ratio)).sum(dim=0)  # gamma: directions that the labels determine
        weights = (strength * inside / (strength + ratio).square()).sum(dim=0)  # |m|^2
        errors = (inside * (ratio / (strength + ratio)).square()).sum(dim=0) + outside  # |Fm - y|^2
        found = (used * errors / (weights * (n - used)).clamp_min(1e-30)).clamp(1 / _FARTHEST, _FARTHEST)
        settled = bool(((found - ratio).abs() <= _TOLERANCE * ratio).all())
        ratio = found
        if settled:
            break
    return float(torch.maximum(evidence(ratio), heights.amax(dim=0)).mean() / n)


def h_score(features: Tensor, labels: Tensor, *, shrink: bool = True) -> float:
    """Share of the features' variance between classes, summed over directions: tr(cov(F)^-1 cov(E[F|y])).

    Bao et al. 2019, 'An Information-Theoretic Approach to Transferability in Task Transfer Learning'; between 0 and
    min(D, K - 1). With few images the covariance is singular or mostly noise, so by default it is shrunk towards a
    multiple of the identity with the coefficient of Ledoit & Wolf (2004), and the other covariance with the same one
    (Ibrahim et al. 2021, 'Newer is not always better'). With one image per class, the variance within classes is
    unknown: only the shrinkage keeps the score from being K - 1 for any features.

    Raises:
        ValueError: the shapes do not match, or the labels have fewer than two classes.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage  # a second to import, and few who score need it

    _check(features, labels)
    centred = features.double() - features.double().mean(dim=0)
    y = _one_hot(labels)
    counts = y.sum(dim=0)
    means = (y / counts).T @ centred  # (K, D)
    between = means * (counts / len(y)).sqrt()[:, None]  # its square is cov(E[F|y])
    covariance = centred.T @ centred / len(y)
    if not shrink:
        return float(torch.einsum("kd,de,ke->", between, torch.linalg.pinv(covariance, hermitian=True), between))
    level = covariance.diagonal().mean()
    if level == 0:
        return 0.0
    share = float(ledoit_wolf_shrinkage(centred.numpy(), assume_centered=True))
    shrunk = (1 - share) * covariance + share * level * torch.eye(len(covariance), dtype=torch.double)
    return float((1 - share) * (between * torch.linalg.solve(shrunk, between.T).T).sum())


def leep(probabilities: Tensor, labels: Tensor) -> float:
    """Mean log-likelihood of the target's labels under p(y) = sum over z of P(y | z) p(z), z the source's classes.

    Nguyen et al. 2020, 'LEEP: A New Measure to Evaluate Transferability of Learned Representations'. `probabilities`
    (N, S) are the source head's, and P(y | z) is estimated from them on the same images; the classes of source and
    target may be entirely different. At most 0; with few images it is too high, as it is evaluated on the images that
    it was estimated from.
    """
    _check(probabilities, labels)
    p = probabilities.double()
    y = _one_hot(labels)
    joint = y.T @ p / len(p)  # (K, S)
    given = joint / joint.sum(dim=0).clamp_min(1e-30)
    return float((y * (p @ given.T)).sum(dim=1).clamp_min(1e-30).log().mean())


def nce(probabilities: Tensor, labels: Tensor) -> float:
    """Negative conditional entropy -H(Y | Z), in nats, of the labels given the source head's prediction.

    Tran, Nguyen & Hassner 2019, 'Transferability and Hardness of Supervised Classification Tasks'. `probabilities` are
    (N, S). At most 0, and with few images too high for the same reason as LEEP.
    """
    _check(probabilities, labels)
    answers = torch.nn.functional.one_hot(probabilities.argmax(dim=1), probabilities.shape[1]).double()
    joint = _one_hot(labels).T @ answers / len(labels)
    given = joint / joint.sum(dim=0).clamp_min(1e-30)
    return float((joint * given.clamp_min(1e-30).log()).sum())


def probe_accuracy(features: Tensor, labels: Tensor, held: Tensor, held_labels: Tensor) -> float:
    """Accuracy on held-out images (M, D) of ridge regression from features (N, D) to one-hot labels (N,).

    Closed form, without a hyperparameter: the penalty is the mean variance of a feature. Approximates a linear probe.

    Raises:
        ValueError: the shapes do not match, or the labels have fewer than two classes.
    """
    _check(features, labels)
    f, y = features.double(), _one_hot(labels)
    mean = f.mean(dim=0)
    centred = f - mean
    covariance = centred.T @ centred / len(f)
    penalty = covariance.diagonal().mean().clamp_min(1e-30)
    ridge = covariance + penalty * torch.eye(len(covariance), dtype=torch.double)
    weights = torch.linalg.solve(ridge, centred.T @ y / len(f))  # (D, K)
    answers = labels.unique()[((held.double() - mean) @ weights + y.mean(dim=0)).argmax(dim=1)]
    return float((answers == held_labels).double().mean())


def _one_hot(labels: Tensor) -> Tensor:
    """(N, K) float64, one column per class that occurs."""
    found: Tensor = labels[:, None] == labels.unique()
    return found.double()


def _check(values: Tensor, labels: Tensor) -> None:
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        raise ValueError(f"expected one row of numbers per label, got {tuple(values.shape)} and {tuple(labels.shape)}")
    if len(labels.unique()) < 2:
        raise ValueError("a transferability score needs images of at least two classes")
