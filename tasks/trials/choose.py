"""Which strategy is the candidate: by its answers for images that were held out, never by the test split. No torch.

Legend: S strategies, N images (of all seeds), M answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graft.settings import Metric
from tasks.trials.out_of_fold import OutOfFold

TIE = 0.5
"""Strategies are tied that are less than this many standard errors behind the best."""
_RESAMPLES = 200


@dataclass(frozen=True)
class Contender:
    """What is known of a strategy before the test split is seen."""

    name: str
    answers: Mapping[int, OutOfFold]
    """By seed."""
    cost: tuple[float, ...]
    """The smaller, the cheaper."""
    place: int = 0
    """In the list of params.yaml."""


def choose_strategy(contenders: list[Contender], metric: Metric) -> str:
    """The strategy with the best answers out of fold, pooled over seeds; of those that are tied with it, the cheapest,
    then the one that varies least from seed to seed, then the first by name.

    Strategies answer for different images, as not all run every fold. So each gets the effect that it has in a model
    of two terms, strategy and image (least squares): it is compared on the images that it shares with others, and one
    that was lucky with easy images gains nothing. The error of a difference is that of a bootstrap over images. Where
    none could be held out, at one label per class, the first in the list of params.yaml is chosen.
    """
    judged = [each for each in contenders if any(len(found.labels) for found in each.answers.values())]
    if not judged:
        return min(contenders, key=lambda each: (each.place, each.cost, each.name)).name
    scores = _scores(judged, metric)
    effects = _effects(scores)
    best = int(np.argmax(effects))
    generator = np.random.default_rng(0)
    drawn = [_effects(scores[:, generator.integers(0, scores.shape[1], scores.shape[1])]) for _ in range(_RESAMPLES)]
    behind = np.stack(drawn)[:, [best]] - np.stack(drawn)
    errors = behind.std(axis=0)
    tied = [i for i in range(len(judged)) if effects[best] - effects[i] <= TIE * errors[i]]

    def rank(i: int) -> tuple[tuple[float, ...], float, str]:
        return judged[i].cost, _spread(judged[i]), judged[i].name

    return judged[min(tied, key=rank)].name


def _scores(contenders: list[Contender], metric: Metric) -> np.ndarray:
    """(S, N): whether each strategy is right about each image of each seed, NaN where it was not asked; where classes
    are to count alike, weighted by the inverse of their number."""
    columns = sorted(
        {(seed, int(at)) for each in contenders for seed, found in each.answers.items() for at in found.places}
    )
    place = {column: i for i, column in enumerate(columns)}
    scores, labels = np.full((len(contenders), len(columns)), np.nan), np.zeros(len(columns), np.int64)
    for row, each in enumerate(contenders):
        for seed, found in each.answers.items():
            at = [place[seed, int(where)] for where in found.places]
            scores[row, at], labels[at] = found.right, found.labels
    if metric == "accuracy":
        return scores
    counts = np.bincount(labels)
    weighted: np.ndarray = scores * (len(labels) / (np.count_nonzero(counts) * counts[labels]))
    return weighted


def _effects(scores: np.ndarray) -> np.ndarray:
    """(S,): the least-squares effects of the strategies in scores (S, N) = strategy + image, 0 on average."""
    known = ~np.isnan(scores)
    y, seen = np.where(known, scores, 0.0), known.sum(axis=0).clip(1)
    # The images are eliminated: what is left are S equations, singular by the constant.
    left = np.diag(known.sum(axis=1).astype(float)) - (known / seen) @ known.T
    right = (y - known * (y.sum(axis=0) / seen)).sum(axis=1)
    found: np.ndarray = np.linalg.lstsq(left, right, rcond=None)[0]
    found -= found.mean()
    return found


def _spread(contender: Contender) -> float:
    means = [float(found.right.mean()) for found in contender.answers.values() if len(found.labels)]
    return float(np.std(means))
