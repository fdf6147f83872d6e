"""What a trial answers for images whose labels its network did not learn from; strategies are compared by it.

Legend: M images, K classes. No torch here.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.common.errors import GraftError
from tasks.common.npz import save_npz

OUT_OF_FOLD = "out_of_fold.npz"


@dataclass(frozen=True)
class OutOfFold:
    """Probabilities for labelled images of the target's pool, out of fold; the test split is never among them."""

    places: np.ndarray
    """(M,) int64, places in the pool."""
    labels: np.ndarray
    """(M,) int64."""
    probabilities: np.ndarray
    """(M, K) float32."""

    @classmethod
    def none(cls, classes: int) -> "OutOfFold":
        """Of a trial that could hold nothing out."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, classes), np.float32))

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        said = self.probabilities[np.arange(len(self.labels)), self.labels].astype(np.float64)
        return float(-np.log(np.maximum(said, 1e-12)).mean())

    @property
    def right(self) -> np.ndarray:
        """(M,) bool: where the most probable class is the right one."""
        found: np.ndarray = self.probabilities.argmax(axis=1) == self.labels
        return found

    def save(self, path: Path) -> None:
        """Write a file with the same bytes on every machine."""
        save_npz(path, places=self.places, labels=self.labels, probabilities=self.probabilities.astype(np.float32))

    @classmethod
    def load(cls, path: Path) -> "OutOfFold":
        """Read what `save` wrote.

        Raises:
            GraftError: the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(file["places"], file["labels"], file["probabilities"])
        except (OSError, ValueError, KeyError) as error:
            raise GraftError(f"{path}: cannot be read: {error}", "Make the trial again with: dvc repro") from None
