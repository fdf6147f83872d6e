"""Logistic regression on the source's labels and the paid ones together, as scikit-learn's users would do it.

Legend: N paid images or texts, M of the source, D features.
"""

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from benchmarks.peers.cell import Cell
from benchmarks.peers.quiet import quiet, split

SHARES = (0.03, 0.1, 0.3, 1.0)
"""Weights of a source image, relative to a paid one."""
MOST = 2000
"""Source images, at most: a hundred fits are to take minutes."""
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)


def source_labels(cell: Cell) -> np.ndarray:
    """The labels (M,) of the source.

    Raises:
        ValueError: there are none, or they are of other classes.
    """
    source = cell.case.problem.source
    if source is None or source.classes != cell.paid.classes:
        raise ValueError("there is no source with the same classes")
    found: np.ndarray = source.labels.numpy()
    return found


def fit_mixture(cell: Cell, paid: Any, source: Any) -> Any:
    """A model of features (N, D) and (M, D), dense or sparse; C and the source's weight by cross-validation on the paid
    ones. Of a very large source, images are taken at even distances."""
    labels = source_labels(cell)
    if len(labels) > MOST:
        rows = np.linspace(0, len(labels) - 1, MOST).astype(int)
        labels, source = labels[rows], source[rows]
    stack = sp.vstack if sp.issparse(paid) else np.concatenate

    def fit(rows: np.ndarray, share: float, strength: float) -> Any:
        weights = np.concatenate([np.ones(len(rows)), np.full(len(labels), share)])
        known = np.concatenate([cell.known[rows], labels])
        return LogisticRegression(C=strength, max_iter=1000).fit(stack([paid[rows], source]), known, weights)

    def loss(share: float, strength: float) -> float:
        lost = 0.0
        for rows, held in split(cell).split(cell.places, cell.known):
            said = fit(rows, share, strength).predict_log_proba(paid[held])
            lost -= said[np.arange(len(held)), cell.known[held]].sum()
        return lost

    with quiet():
        settings = [(share, strength) for share in SHARES for strength in STRENGTHS]
        return fit(np.arange(len(cell.known)), *min(settings, key=lambda each: loss(*each)))
