"""What one peer said in one cell, a line of JSON each, so that a long run can be resumed.

Legend: N test images, M paid images.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tasks.trials.out_of_fold import OutOfFold

Key = tuple[str, int, int, str]
"""Case, labels per class, seed, peer."""


@dataclass(frozen=True)
class Held:
    """What a strategy says of paid images, out of fold; Graft chooses by it."""

    places: list[int]
    labels: list[int]
    said: list[int]

    @classmethod
    def of(cls, answers: OutOfFold) -> "Held":
        """The answers without their probabilities, which the choice does not read."""
        said = answers.probabilities.argmax(axis=1) if len(answers.labels) else answers.labels
        return cls(answers.places.tolist(), answers.labels.tolist(), said.tolist())

    def answers(self, classes: int) -> OutOfFold:
        """The answers, each certain."""
        certain = np.eye(classes, dtype=np.float32)[np.array(self.said, np.int64)]
        return OutOfFold(np.array(self.places, np.int64), np.array(self.labels, np.int64), certain)


@dataclass(frozen=True)
class Record:
    """One peer, one case, one label budget, one seed."""

    case: str
    labels: int
    """Paid labels per class."""
    seed: int
    peer: str
    family: str
    """Where the peer comes from, such as `scikit-learn`."""
    seconds: float
    """CPU seconds: everything but the prediction of the test split."""
    truth: list[int]
    """(N,) the classes of the test images."""
    said: list[int]
    """(N,) the peer's answers; empty if it does not apply."""
    held: Held | None = None
    """Of Graft's strategies only."""
    cost: tuple[float, ...] = ()
    """Of Graft's strategies: of strategies that are tied, the cheapest is chosen."""
    why_not: str = ""

    @property
    def key(self) -> Key:
        """What must not be computed twice."""
        return self.case, self.labels, self.seed, self.peer

    def line(self) -> str:
        """A line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":")) + "\n"

    @classmethod
    def read(cls, line: str) -> "Record":
        """The inverse of `line`."""
        values = json.loads(line)
        values["held"] = Held(**values["held"]) if values["held"] else None
        values["cost"] = tuple(values["cost"])
        return cls(**values)


def read_records(paths: Iterable[Path]) -> list[Record]:
    """The records of files that may not exist; of two with one key the later. A last line that was cut off by a kill
    is left out."""
    found: dict[Key, Record] = {}
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            if line.endswith("}"):
                record = Record.read(line)
                found[record.key] = record
    return list(found.values())


def append(path: Path, record: Record) -> None:
    """Add a record to a file; a line that was cut off before is ended first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if text and not text.endswith("\n") else "") + record.line())
