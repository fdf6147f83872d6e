"""What all of scikit-learn's peers share: their folds, and silence."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold

from benchmarks.peers.cell import Cell


def split(cell: Cell) -> StratifiedKFold:
    """The folds of a peer's cross-validation."""
    return StratifiedKFold(cell.folds, shuffle=True, random_state=cell.seed)


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings about fits that end at their limit, of which a search over strengths has many."""
    with warnings.catch_warnings():
        for kind in (ConvergenceWarning, FutureWarning, RuntimeWarning, UserWarning):
            warnings.simplefilter("ignore", kind)
        yield
