"""Scores by which weights are chosen where no label of the target may be known; higher is better.

None of them is safe: each rewards something that good weights have, and that bad weights can have too.

Legend: N images (of the target, unless said otherwise), M of the source, D features, K classes.
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
"""A score looks at so many images of a domain, evenly spread: it is taken at every evaluation."""

_FEWEST = 10
"""Images that a risk, or a ratio of densities, can be estimated on."""

GUARD = 2.0
"""How much the information in the predictions counts next to the density of their neighbourhoods."""


def label_free_score(rule: str, network: Network, domains: Domains) -> float | None:
    """The score of rule `guarded_snd`, `snd`, `entropy` or `dev`; None for `last`.

    Raises:
        ValueError: `dev` without source images enough.
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
    Mutual Information and Phantom Targets'). Alone, the density is highest, log N, where all predictions are alike:
    all of one class, or all undecided. Both have no information. K sure and equal clusters have density log(N / K) and
    information log K: with a guard of 1 they would draw level, with more they win. It fails by a little where the
    target's classes are far from equally frequent.
    """
    p = probabilities.double()
    information = float(torch.special.entr(p.mean(dim=0)).sum()) - mean_entropy(p)
    return soft_neighborhood_density(p) + GUARD * information


def soft_neighborhood_density(probabilities: Tensor, temperature: float = 0.05) -> float:
    """How many near neighbours an image has among the predictions (N, K), in nats.

    The mean entropy of softmax(cosine similarity / temperature) over the other images (Saito et al. 2021, 'Tune it
    the Right Way: Unsupervised Validation of Domain Adaptation via Soft Neighborhood Density'). Dense clusters score
    high, images between clusters low. It fails when classes merge: one cluster of all images scores highest. So
    the rule by default is the `guarded_density`.
    """
    normalised = F.normalize(probabilities.double(), dim=1)
    similarity = normalised @ normalised.T / temperature
    # An image is no neighbour of its own; -1 is the least that a cosine can be, as in the authors' code.
    similarity.fill_diagonal_(-1 / temperature)
    neighbours = similarity.softmax(dim=1)
    return float(torch.special.entr(neighbours).sum(dim=1).mean())


def mean_entropy(probabilities: Tensor) -> float:
    """How unsure predictions (N, K) are, in nats.

    As a rule, low entropy takes sureness for correctness. It fails when a method makes a network sure of the wrong
    classes, or of a single one: a collapsed network has no entropy at all.
    """
    return float(torch.special.entr(probabilities.double()).sum(dim=1).mean())


def held_out(count: int) -> Tensor:
    """Indices of the source images, a tenth of `count` at most, that `dev` validates on: never to be trained on."""
    return _spread(count, min(MOST_PICTURES, max(1, count // 10)))


def deep_embedded_validation(network: Network, domains: Domains) -> float:
    """Minus the target's risk, estimated from source images that are weighted by how much they look like target ones.

    The weights are the density ratio of the features (You et al. 2019, 'Towards Accurate Model Selection in Deep
    Unsupervised Domain Adaptation'). The ratio is fitted to other source images than those of `held_out`, whose risk
    is taken. Adaptation does not train on these, but the pretraining may have: then the risk is too low, whatever the
    weights. It fails when the domains hardly overlap in the features: then a few images decide.

    Raises:
        ValueError: there are no source images, or too few of the target's classes.
    """
    source = domains.source
    if source is None:
        raise ValueError("the selection rule 'dev' weighs source images, and there are none")
    labels = SourceLabels(source.classes, network.description.classes)(source.labels.cpu())
    held, shared = held_out(len(source)), labels >= 0
    rest = shared.index_fill(0, held, value=False).nonzero().flatten()
    held = held[shared[held]]
    if len(held) < _FEWEST or len(rest) < _FEWEST:
        raise ValueError(
            f"the selection rule 'dev' validates on a tenth of the source, {_FEWEST} images of the target's classes "
            f"at least, and there are {len(held)}; choose by guarded_snd, snd or entropy"
        )
    rest = rest[_spread(len(rest), MOST_PICTURES)]
    probabilities, features = predict(network, source.take(held).images)
    losses = F.nll_loss(probabilities.double().clamp_min(1e-12).log(), labels[held], reduction="none")
    target = predict(network, _some(domains.target).images)[1]
    ratio = classifier_odds(predict(network, source.take(rest).images)[1], target)
    return -weighted_risk(ratio(features), losses)


def weighted_risk(weights: Tensor, losses: Tensor) -> float:
    """Mean of weights * losses (M,), with the mean weight, known to be 1, as a control variate: less variance."""
    weighted = weights * losses
    covariance = torch.cov(torch.stack([weighted, weights]))
    control = -covariance[0, 1] / covariance[1, 1].clamp_min(1e-12)
    return (weighted.mean() + control * (weights.mean() - 1)).item()


def _some(split: Split) -> Split:
    return split.take(_spread(len(split), MOST_PICTURES))


def _spread(count: int, most: int) -> Tensor:
    """Evenly spread indices below `count`, `most` of them at most."""
    taken = min(count, most)
    return torch.arange(taken) * count // taken
