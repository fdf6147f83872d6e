"""Find and write single runs in MLflow. It may hold unfinished or duplicate runs; callers see neither."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.tracking.run_content import COMPLETE, CURRENT, KEY, Point, RunContent

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PARENT = "mlflow.parentRunId"
POINTS_PER_REQUEST = 900
"""MLflow accepts at most 1,000 values per request, including parameters and tags."""


@dataclass(frozen=True)
class RunStore:
    """The runs of one experiment."""

    client: "MlflowClient"
    experiment_id: str

    def with_ids(self, run_ids: Iterable[str]) -> list["Run"]:
        """The runs with these ids that exist and are not deleted."""
        listed = ", ".join(f"'{run_id}'" for run_id in sorted(run_ids))
        return self._search(f"attributes.run_id IN ({listed})") if listed else []

    def with_key(self, key: str) -> list["Run"]:
        """All runs with a stage key, finished ones first, then the oldest first."""
        runs = self._search(f"tags.`{KEY}` = '{key}'")
        return sorted(runs, key=lambda run: (not is_complete(run), run.info.start_time, run.info.run_id))

    def marked_current(self) -> set[str]:
        """Ids of the trials that are marked as part of the latest result."""
        return {run.info.run_id for run in self._search(f"tags.`{CURRENT}` = 'yes'")}

    def mark(self, run_ids: Iterable[str]) -> None:
        """Mark exactly these trials as part of the latest result; only wrong marks are rewritten."""
        wanted, marked = set(run_ids), self.marked_current()
        for run_id in sorted(marked - wanted):
            self.client.set_tag(run_id, CURRENT, "no")
        for run_id in sorted(wanted - marked):
            self.client.set_tag(run_id, CURRENT, "yes")

    def finished(self, key: str) -> "Run | None":
        """The finished run with a stage key, if there is one."""
        runs = self.with_key(key)
        return runs[0] if runs and is_complete(runs[0]) else None

    def clean(self, key: str) -> "Run | None":
        """Like `finished`, but also delete all other runs with that key: unfinished ones and duplicates."""
        runs = self.with_key(key)
        kept = runs[0] if runs and is_complete(runs[0]) else None
        for run in runs[1:] if kept else runs:
            self.client.delete_run(run.info.run_id)
        return kept

    def delete_unfinished(self, keys: Iterable[str]) -> None:
        """Delete the unfinished runs with these stage keys.

        If MLflow's client repeats a request because the answer came too late, an extra run remains.
        """
        of = set(keys)
        for run in self._search("attributes.status != 'FINISHED'"):
            if run.data.tags.get(KEY) in of:
                self.client.delete_run(run.info.run_id)

    def start(self, content: RunContent, tags: Mapping[str, str], parent: str = "") -> str:
        """Write a run with everything in `content`, and return its id; `finish` must follow."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        now = _now()
        tags = {**content.tags, **tags, **({PARENT: parent} if parent else {})}
        run = self.client.create_run(self.experiment_id, start_time=now, tags=tags, run_name=content.name)
        metrics = [Metric(name, value, now, step) for name, value, step in content.points]
        params = [Param(name, value) for name, value in content.params.items()]
        self.client.log_batch(run.info.run_id, metrics=metrics[:POINTS_PER_REQUEST], params=params)
        for start in range(POINTS_PER_REQUEST, len(metrics), POINTS_PER_REQUEST):
            self.client.log_batch(run.info.run_id, metrics=metrics[start : start + POINTS_PER_REQUEST])
        data = content.dataset
        dataset = Dataset("data", data["digest"], "dvc", data["profile"], profile=data["profile"])
        context = InputTag("mlflow.data.context", data["context"])
        self.client.log_inputs(run.info.run_id, [DatasetInput(dataset, [context])])
        return str(run.info.run_id)

    def finish(self, run_id: str) -> None:
        """Mark a run as finished; the tag comes last, so a run without it is incomplete."""
        self.client.set_terminated(run_id, "FINISHED")
        self.client.set_tag(run_id, COMPLETE, "true")

    def write_points(self, run_id: str, points: Iterable[Point]) -> None:
        """Set new values of metrics of a finished run; the previous ones stay in their history."""
        from mlflow.entities import Metric

        now = _now()
        self.client.log_batch(run_id, metrics=[Metric(name, value, now, step) for name, value, step in points])

    def _search(self, condition: str) -> list["Run"]:
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], condition, page_token=token)
            found += page
            token = page.token
            if not token:
                return found


def is_complete(run: "Run") -> bool:
    """Whether a run was written completely."""
    return (run.info.status, run.data.tags.get(COMPLETE)) == ("FINISHED", "true")


def _now() -> int:
    return int(time.time() * 1000)
