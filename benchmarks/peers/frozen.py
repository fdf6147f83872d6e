"""scikit-learn on frozen features: the obvious thing to do with pretrained weights and few labels.

What has a knob gets it searched by cross-validation within the paid labels; then all of them are learned from.

Legend: N images, M paid, D features.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from benchmarks.peers.cell import Answer, Cell, Peer
from benchmarks.peers.mixture import fit_mixture, source_labels
from benchmarks.peers.quiet import quiet, split

FAMILY = "scikit-learn"
STRENGTHS = np.logspace(-4, 4, 10)
"""The C that `LogisticRegressionCV` searches by default."""
NEIGHBOURS = (1, 3, 5, 7, 9, 15, 25)
SPREADING: tuple[dict[str, Any], ...] = (
    *({"kernel": "knn", "n_neighbors": count} for count in (5, 7, 10, 20)),
    *({"kernel": "rbf", "gamma": gamma} for gamma in (2.0, 5.0, 20.0, 80.0)),
)
"""The library's own defaults are seven neighbours and a gamma of 20."""


def logistic(_: Cell) -> Any:
    """Logistic regression as it is, on features as they are."""
    return LogisticRegression(max_iter=2000)


def logistic_cv(scoring: str, *, standardised: bool = False) -> Callable[[Cell], Any]:
    """Logistic regression, C by cross-validation, which maximises `scoring`; on features as they are, or each divided
    by its deviation, which makes rare ones loud."""

    def make(cell: Cell) -> Any:
        search = _search(cell, scoring)
        return make_pipeline(StandardScaler(), search) if standardised else search

    return make


def _search(cell: Cell, scoring: str) -> Any:
    return LogisticRegressionCV(Cs=STRENGTHS, cv=split(cell), scoring=scoring, max_iter=1000)


def prototypes(_: Cell) -> Any:
    """The mean of each class on the unit sphere (Snell, Swersky & Zemel 2017, 'Prototypical Networks for Few-shot
    Learning')."""
    return make_pipeline(Normalizer(), NearestCentroid())


def neighbours(cell: Cell) -> Any:
    """The nearest paid images by cosine; how many, and whether nearer ones count more, by cross-validation."""
    smallest_part = len(cell.known) - -(-len(cell.known) // cell.folds)
    counts = [count for count in NEIGHBOURS if count <= smallest_part]
    grid = {"n_neighbors": counts, "weights": ["uniform", "distance"]}
    return make_pipeline(Normalizer(), GridSearchCV(KNeighborsClassifier(), grid, cv=split(cell)))


def supervised(make: Callable[[Cell], Any]) -> Callable[[Cell], Answer]:
    """A peer that learns from the paid images alone."""

    def solve(cell: Cell) -> Answer:
        features, model = cell.case.encoded, make(cell)
        with quiet():
            model.fit(features.pool[cell.places], cell.known)
        return Answer(model.predict(features.test), added=features.seconds * len(cell.known))

    return solve


def self_training(cell: Cell) -> Answer:
    """Logistic regression, C by cross-validation, that also learns from its own confident answers for the pool
    (Yarowsky 1995, 'Unsupervised word sense disambiguation rivaling supervised methods')."""
    features = cell.case.encoded
    with quiet():
        strength = float(np.mean(_search(cell, "neg_log_loss").fit(features.pool[cell.places], cell.known).C_))
        model = SelfTrainingClassifier(LogisticRegression(C=strength, max_iter=1000)).fit(features.pool, cell.hidden)
    return Answer(model.predict(features.test), added=features.seconds * len(features.pool))


def with_source(cell: Cell) -> Answer:
    """Logistic regression on the source's images too; C and their weight by cross-validation on the paid ones.

    Raises:
        ValueError: there is no source with the same classes.
    """
    features, count = cell.case.encoded, len(source_labels(cell))
    model = fit_mixture(cell, features.pool[cell.places], features.source)
    return Answer(model.predict(features.test), added=features.seconds * (len(cell.known) + count))


def label_spreading(cell: Cell) -> Answer:
    """Labels spread over a graph of the whole pool (Zhou et al. 2003, 'Learning with Local and Global Consistency');
    its kernel by cross-validation."""
    features, scale = cell.case.encoded, Normalizer()
    pool = scale.transform(features.pool)
    with quiet():
        best = max(SPREADING, key=lambda knobs: _right(cell, pool, knobs))
        model = _spread(pool, cell.hidden, best)
    return Answer(model.predict(scale.transform(features.test)), added=features.seconds * len(pool))


def _right(cell: Cell, pool: np.ndarray, knobs: dict[str, Any]) -> int:
    """How many paid images get their label when their fold's labels are hidden."""
    return sum(_right_in(pool, hidden, at, cell.hidden[at], knobs) for hidden, at in _held_out(cell))


def _held_out(cell: Cell) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for _, held in split(cell).split(cell.places, cell.known):
        hidden, at = cell.hidden, cell.places[held]
        hidden[at] = -1
        yield hidden, at


def _right_in(pool: np.ndarray, hidden: np.ndarray, at: np.ndarray, truth: np.ndarray, knobs: dict[str, Any]) -> int:
    return int((_spread(pool, hidden, knobs).transduction_[at] == truth).sum())


def _spread(pool: np.ndarray, hidden: np.ndarray, knobs: dict[str, Any]) -> Any:
    return LabelSpreading(**knobs, max_iter=100).fit(pool, hidden)


def peers() -> list[Peer]:
    """All of them, for photos and digits."""
    found: dict[str, Callable[[Cell], Answer]] = {
        "logistic regression": supervised(logistic),
        "logistic regression, CV": supervised(logistic_cv("accuracy")),
        "logistic regression, CV by loss": supervised(logistic_cv("neg_log_loss")),
        "logistic regression, CV, standardised": supervised(logistic_cv("accuracy", standardised=True)),
        "logistic regression, source + target": with_source,
        "prototypes": supervised(prototypes),
        "neighbours": supervised(neighbours),
        "self-training": self_training,
        "label spreading": label_spreading,
    }
    return [Peer(name, FAMILY, ("photos", "digits"), solve) for name, solve in found.items()]
