"""Scores that select weights without target labels; higher is better.

None of them is safe: each rewards a property of good weights that bad weights can have too.

Legend: N images (of the target, unless stated otherwise), M of the source, D features, K classes.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.data.source_labels import SourceLabels
from graft.data.split import Domains, Split
from graft.networks.network import Network, predict
from graft.techniques.density import classifier_odds

Rule = Literal["guarded_snd", "snd", "entropy", "dev", "last"]

MOST_PICTURES = 1000
"""Most images per domain, evenly spaced, that a score uses: it is computed at every evaluation."""

_FEWEST = 10
"""Fewest images for an estimate of a risk or a density ratio."""

GUARD = 2.0
"""Weight of the information in the predictions, relative to the density of their neighbourhoods."""


def label_free_score(rule: str, network: Network, domains: Domains) -> float | None:
    """The score of rule `guarded_snd`, `snd`, `entropy` or `dev`; None for `last`.

    Raises:
        ValueError: `dev` has too few source images.
    """
    if rule == "dev":
        return deep_embedded_validation(network, domains)
    of_predictions: dict[str, Callable[[Tensor], float]] = {
        "guarded_snd": guarded_density,
        "snd": soft_neighborhood_density,
        "entropy": lambda probabilities: -mean_entropy(probabilities),
    }
    if rule not in of_predictions:
        return None
    return of_predictions[rule](predict(network, _some(domains.target).images)[0])


def guarded_density(probabilities: Tensor) -> float:
    """Soft neighborhood density plus `GUARD` times the information about the image in its class, in nats; (N, K).

    The information is that of predictions p, H(mean p) - mean H(p) (Bridle et al. 1991, 'Unsupervised Classifiers,
    Mutual Information and Phantom Targets'). The density alone is highest, log N, where all predictions are the same:
    all of one class, or all undecided. Both have no information. K confident clusters of equal size have density
    log(N / K) and information log K: with a guard of 1 they would score the same, with a larger one they win. It fails
    by a little where the target's classes are far from equally frequent.
    """
    p = probabilities.double()
    information = float(torch.special.entr(p.mean(dim=0)).sum()) - mean_entropy(p)
    return soft_neighborhood_density(p) + GUARD * information


def soft_neighborhood_density(probabilities: Tensor, temperature: float = 0.05) -> float:
    """How densely the predictions (N, K) cluster, in nats.

    The mean entropy of softmax(cosine similarity / temperature) over the other images (Saito et al. 2021, 'Tune it
    the Right Way: Unsupervised Validation of Domain Adaptation via Soft Neighborhood Density'). Dense clusters score
    high, images between clusters low. It fails when classes merge: one cluster of all images scores highest. So the
    default rule is `guarded_density`.
    """
    normalised = F.normalize(probabilities.double(), dim=1)
    similarity = normalised @ normalised.T / temperature
    # An image is not its own neighbour; -1 is the lowest possible cosine, as in the authors' code.
    similarity.fill_diagonal_(-1 / temperature)
    neighbours = similarity.softmax(dim=1)
    return float(torch.special.entr(neighbours).sum(dim=1).mean())


def mean_entropy(probabilities: Tensor) -> float:
    """Mean entropy of predictions (N, K), in nats.

    As a selection rule, low entropy takes confidence for correctness. It fails when a method makes a network confident
    of the wrong classes, or of a single one: a collapsed network has zero entropy.
    """
    return float(torch.special.entr(probabilities.double()).sum(dim=1).mean())


def held_out(count: int) -> Tensor:
    """Indices of the source images, at most a tenth of `count`, that `dev` validates on: never used for training."""
    return _spread(count, min(MOST_PICTURES, max(1, count // 10)))


def deep_embedded_validation(network: Network, domains: Domains) -> float:
    """The negative target risk, estimated on source images that are weighted by their similarity to the target.

    The weights are the density ratio of the features (You et al. 2019, 'Towards Accurate Model Selection in Deep
    Unsupervised Domain Adaptation'). The risk is computed on the images of `held_out`, the ratio fitted to other source
    images. Adaptation does not train on the held-out images, but pretraining may have: then the risk is too low,
    whatever the weights. It fails when the domains hardly overlap in feature space: then a few images decide.

    Raises:
        ValueError: there are no source images, or too few of the target's classes.
    """
    source = domains.source
    if source is None:
        raise ValueError("the selection rule 'dev' needs source images, and there are none")
    labels = SourceLabels(source.classes, network.description.classes)(source.labels.cpu())
    held, shared = held_out(len(source)), labels >= 0
    rest = shared.index_fill(0, held, value=False).nonzero().flatten()
    held = held[shared[held]]
    if len(held) < _FEWEST or len(rest) < _FEWEST:
        raise ValueError(
            f"the selection rule 'dev' validates on a tenth of the source and needs at least {_FEWEST} images of the "
            f"target's classes there, but has {len(held)}; use guarded_snd, snd or entropy"
        )
    rest = rest[_spread(len(rest), MOST_PICTURES)]
    probabilities, features = predict(network, source.take(held).images)
    losses = F.nll_loss(probabilities.double().clamp_min(1e-12).log(), labels[held], reduction="none")
    target = predict(network, _some(domains.target).images)[1]
    ratio = classifier_odds(predict(network, source.take(rest).images)[1], target)
    return -weighted_risk(ratio(features), losses)


def weighted_risk(weights: Tensor, losses: Tensor) -> float:
    """Mean of weights * losses (M,), with the mean weight, which should be 1, as a control variate: less variance."""
    weighted = weights * losses
    covariance = torch.cov(torch.stack([weighted, weights]))
    control = -covariance[0, 1] / covariance[1, 1].clamp_min(1e-12)
    return (weighted.mean() + control * (weights.mean() - 1)).item()


def _some(split: Split) -> Split:
    return split.take(_spread(len(split), MOST_PICTURES))


def _spread(count: int, most: int) -> Tensor:
    """At most `most` evenly spaced indices below `count`."""
    taken = min(count, most)
    return torch.arange(taken) * count // taken
