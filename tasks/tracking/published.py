"""What became of a result at MLflow, in words: what was recorded, and which version was registered or why none.

The process that talks to MLflow writes it to a file, so that others can show it without importing MLflow.
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
    """The parent run of this result; empty when nothing could be recorded."""
    written: int = 0
    """Runs that were written now."""
    found: int = 0
    """Runs that were there already: they belong to stages that were not run again."""
    problem: str = ""
    """Why nothing, or not everything, could be recorded; the files of the project hold it all the same."""
    late: int = 0
    """Results before this one that were recorded now, because MLflow had been away."""
    waiting: int = 0
    """Results, this one included, that are still to be recorded."""

    def __str__(self) -> str:
        earlier = f"MLflow: {self.late} earlier result{'s' * (self.late > 1)} recorded now.\n" if self.late else ""
        return earlier + self._of_this_result()

    def _of_this_result(self) -> str:
        if self.problem:
            several = f" {self.waiting} results wait for that." if self.waiting > 1 else ""
            how = "Nothing is lost: `graft sync` records it from its files, and so does the next run."
            return f"Not recorded in MLflow: {self.problem}\n{how}{several}"
        if not self.written:
            return f"MLflow: all {self.found} runs were there already (experiment {self.experiment})."
        there = f", {self.found} {'was' if self.found == 1 else 'were'} there already" if self.found else ""
        runs = "1 run" if self.written == 1 else f"{self.written} runs"
        return f"MLflow: {runs} recorded{there} (experiment {self.experiment})."


@dataclass(frozen=True)
class Registration:
    """The candidate in the model registry, and what the gate said."""

    model: str = ""
    version: str = ""
    """The candidate's version; empty when it could not be registered."""
    created: bool = False
    """Whether this version is new."""
    alias: str = ""
    """`champion` or `challenger`; empty if it holds neither."""
    champion: str = ""
    """The version that is champion now; empty if there is none."""
    reason: str = ""
    """Why it is the champion, or why not."""
    problem: str = ""
    """Why it could not be registered."""
    drift: str = ""
    """What new data did to the champion of before; empty if the data is the one that it was made from."""

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
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
    """Both of them."""

    recorded: Recorded
    registration: Registration

    @property
    def is_news(self) -> bool:
        """Whether the last run made this result, and did not find all of it there."""
        return bool(self.recorded.written) or self.registration.created


def save_published(root: Path, published: Published) -> None:
    """Write it to the project's state folder."""
    write_json(root / PUBLISHED, asdict(published))


def load_published(root: Path) -> Published | None:
    """What `save_published` wrote last, or None."""
    try:
        content = json.loads((root / PUBLISHED).read_text(encoding="utf-8"))
        return Published(Recorded(**content["recorded"]), Registration(**content["registration"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
