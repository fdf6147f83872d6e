"""What every peer is given: the same weights, pool, paid labels and test split.

Legend: N images or texts, D features.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from benchmarks.study import Problem
from graft.data.sampling import LabelledTarget, draw_labels
from graft.data.split import Split
from graft.networks.network import Network, predict
from tasks.new_project.answers import Answers
from tasks.trials.out_of_fold import OutOfFold

Kind = Literal["photos", "digits", "texts"]


@dataclass(frozen=True)
class Texts:
    """The texts behind the tokens of a problem."""

    pool: list[str]
    test: list[str]
    source: list[str]


@dataclass(frozen=True)
class Encoded:
    """Features (N, D) of frozen weights."""

    pool: np.ndarray
    test: np.ndarray
    source: np.ndarray | None
    seconds: float
    """CPU seconds for one image."""


@dataclass(frozen=True)
class Case:
    """One transfer, with all of its data loaded."""

    name: str
    kind: Kind
    problem: Problem
    weights: Network
    """The weights as they were published, or as the source taught them, with the head that they came with."""
    project: Answers
    """What a user would answer `graft init` for this data."""
    texts: Texts | None = None

    def encode(self) -> None:
        """Compute the features now, if they are not known yet."""
        _ = self.encoded

    @cached_property
    def encoded(self) -> Encoded:
        """The features of all images, computed once for all peers."""
        start = time.process_time()
        parts = [self.problem.pool, self.problem.test, *([self.problem.source] if self.problem.source else [])]
        found = [predict(self.weights, split.images)[1].numpy() for split in parts]
        seconds = (time.process_time() - start) / sum(map(len, parts))
        return Encoded(found[0], found[1], found[2] if len(found) > 2 else None, seconds)


@dataclass(frozen=True)
class Cell:
    """A case with a label budget and a seed, which draws the labels."""

    case: Case
    labels: int
    """Paid labels per class."""
    seed: int

    @cached_property
    def target(self) -> LabelledTarget:
        """The pool and the paid labels, drawn as for Graft."""
        return draw_labels(self.case.problem.pool, self.labels, self.seed)

    @property
    def paid(self) -> Split:
        """The paid images with their labels."""
        return self.target.labelled

    @property
    def places(self) -> np.ndarray:
        """The places of the paid images in the pool."""
        found: np.ndarray = self.target.paid.numpy()
        return found

    @property
    def known(self) -> np.ndarray:
        """The paid labels."""
        found: np.ndarray = self.paid.labels.numpy()
        return found

    @property
    def hidden(self) -> np.ndarray:
        """The labels of the whole pool, -1 where they are not paid for."""
        found = np.full(len(self.case.problem.pool), -1)
        found[self.places] = self.known
        return found

    @property
    def folds(self) -> int:
        """Of a peer's cross-validation: five, or as many as a class has labels."""
        return min(5, self.labels)


@dataclass(frozen=True)
class Answer:
    """What a peer says of the test split."""

    said: np.ndarray
    """(N,)."""
    seconds: float | None = None
    """CPU seconds, where the peer measures them itself, in a process of its own."""
    added: float = 0.0
    """CPU seconds of what was computed once for all peers."""
    out_of_fold: OutOfFold | None = None
    cost: tuple[float, ...] = ()


@dataclass(frozen=True)
class Peer:
    """A way to solve a cell."""

    name: str
    family: str
    kinds: tuple[Kind, ...]
    solve: Callable[[Cell], Answer]
    """Raises ValueError where the peer does not apply."""
