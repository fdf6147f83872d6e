"""What MLflow holds of a result: the recorded runs, and the registered version or why there is none.

The process that talks to MLflow writes this to a file, so that others can show it without importing MLflow.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.common.files import write_json
from tasks.common.places import STATE

PUBLISHED = STATE / "mlflow" / "published.json"


@dataclass(frozen=True)
class Recorded:
    """The runs of one result in MLflow."""

    experiment: str = ""
    experiment_id: str = ""
    run_id: str = ""
    """The parent run of this result; empty if nothing could be recorded."""
    written: int = 0
    """Number of runs that were written now."""
    found: int = 0
    """Number of runs that existed already, of stages that were not run again."""
    problem: str = ""
    """Why nothing, or not everything, could be recorded; the project's files still have the whole result."""
    late: int = 0
    """Number of earlier results that were recorded now, because MLflow was not available before."""
    waiting: int = 0
    """Number of results, including this one, that are still to be recorded."""

    def __str__(self) -> str:
        earlier = f"MLflow: {self.late} earlier result{'s' * (self.late > 1)} recorded now.\n" if self.late else ""
        return earlier + self._of_this_result()

    def _of_this_result(self) -> str:
        if self.problem:
            several = f" {self.waiting} results are waiting to be recorded." if self.waiting > 1 else ""
            how = "Nothing is lost: `graft sync` or the next run records it from its files."
            return f"Not recorded in MLflow: {self.problem}\n{how}{several}"
        if not self.written:
            return f"MLflow: all {self.found} runs were recorded before (experiment {self.experiment})."
        there = f", {self.found} {'was' if self.found == 1 else 'were'} recorded before" if self.found else ""
        runs = "1 run" if self.written == 1 else f"{self.written} runs"
        return f"MLflow: {runs} recorded{there} (experiment {self.experiment})."


@dataclass(frozen=True)
class Registration:
    """The candidate in the model registry, and the gate's decision."""

    model: str = ""
    version: str = ""
    """The candidate's version; empty if it could not be registered."""
    created: bool = False
    """Whether this version is new."""
    alias: str = ""
    """`champion` or `challenger`; empty if it has neither alias."""
    champion: str = ""
    """The current champion's version; empty if there is none."""
    reason: str = ""
    """Why it is the champion, or why not."""
    problem: str = ""
    """Why it could not be registered."""
    drift: str = ""
    """The drift of the previous champion on new data; empty if it was made from the same data."""

    @property
    def uri(self) -> str:
        """The address for `mlflow.pyfunc.load_model`."""
        return f"models:/{self.model}@{self.alias}" if self.alias else f"models:/{self.model}/{self.version}"

    def __str__(self) -> str:
        if self.problem:
            return f"Not registered: {self.problem}"
        what = "registered now" if self.created else "was registered before"
        verdict = "champion" if self.alias == "champion" else f"not promoted ({self.alias or 'no alias'})"
        drift = f"\n{self.drift}" if self.drift else ""
        return f"{self.model} version {self.version} ({what}): {verdict}. {self.reason}{drift}"


@dataclass(frozen=True)
class Published:
    """The recorded runs and the registration of one result."""

    recorded: Recorded
    registration: Registration

    @property
    def is_news(self) -> bool:
        """Whether the last run added something to MLflow."""
        return bool(self.recorded.written) or self.registration.created


def save_published(root: Path, published: Published) -> None:
    """Write it to the project's state folder."""
    write_json(root / PUBLISHED, asdict(published))


def load_published(root: Path) -> Published | None:
    """What `save_published` wrote last; None if there is nothing readable."""
    try:
        content = json.loads((root / PUBLISHED).read_text(encoding="utf-8"))
        return Published(Recorded(**content["recorded"]), Registration(**content["registration"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
