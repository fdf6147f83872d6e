"""What a run determines before any stage runs: its files, its data, and the state of each stage, each of them once.

The command does so before Prefect is imported, and the flow reuses the result; a flow that Prefect starts does it
itself.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tasks.checks.project import make_ready
from tasks.data_versions.version import DataVersion, OnLine, version_data
from tasks.executor import events
from tasks.executor.pipeline import Pipeline, StageStatus
from tasks.executor.processes.runner import start
from tasks.executor.resources.gpus import Devices
from tasks.executor.run_module import run_module

_under_way: dict[Path, "Survey"] = {}


class Survey:
    """The files, data and stages of one run's project.

    Args:
        root: the project's folder, whose files are checked at once.
        pipeline: the project's stages.

    Raises:
        GraftError: one of the files is not valid.
    """

    def __init__(self, root: Path, pipeline: Pipeline) -> None:
        self.root, self.pipeline = root, pipeline
        self._data: DataVersion | None = None
        self._stages: list[StageStatus] | None = None
        self._has_checked_knobs = False
        self._graph = ExitStack()
        make_ready(root)

    def data(self, update: bool, on_line: OnLine | None = None) -> DataVersion:
        """Put `data/` in place as `data.dvc` records it, or with `update` version its present content.

        Raises:
            GraftError: the data is refused, changed, not available, or keeps changing.
        """
        if self._data is None and update:
            from tasks.data_versions.take_in import take_in  # all that reads raw data: most runs import none

            self._data = take_in(self.root, on_line)
        elif self._data is None:
            self._data = version_data(self.root, on_line=on_line)
        return self._data

    def stages(self, *targets: str) -> list[StageStatus]:
        """What the run has to do with each stage, by default all; the graph stays open for `Pipeline.run`.

        Raises:
            GraftError: the pipeline cannot be read.
        """
        if self._stages is None:
            self._graph.enter_context(self.pipeline.opened(targets))
            self._stages = self.pipeline.status(targets)
        return self._stages

    @property
    def has_work(self) -> bool:
        """Whether any stage has to run."""
        return any(stage.state != "up_to_date" for stage in self.stages())

    def check_knobs(self) -> None:
        """Check the settings of every strategy, before anything is trained.

        Raises:
            GraftError: some are not valid; lists all of them.
        """
        if not self._has_checked_knobs:
            start()
            run_module("tasks.checks.parameters", self.root)
            self._has_checked_knobs = True

    def again(self) -> None:
        """Discard the state of data and stages, because data/ has changed."""
        self.close()
        self._data = self._stages = None

    def close(self) -> None:
        """Close the graph."""
        self._graph.close()


@contextmanager
def survey(root: Path, jobs: int | None, devices: Devices) -> Iterator[Survey]:
    """The survey of a run in `root`, which must hold the project's lock; nested calls in a process share one.

    Raises:
        GraftError: one of the project's files is not valid.
    """
    if known := _under_way.get(root):
        yield known
        return
    pipeline = Pipeline(root, jobs=jobs, on_event=events.tell, devices=devices, takes_data=False)
    _under_way[root] = found = Survey(root, pipeline)
    try:
        yield found
    finally:
        del _under_way[root]
        found.close()
