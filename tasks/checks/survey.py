"""What a run finds out before anything runs: its files, its data, and how each stage stands. Each of it once.

The command finds it out before Prefect is imported, and the flow goes on with that; a flow that Prefect starts finds it
out itself.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tasks.checks.project import make_ready
from tasks.data_versions.take_in import take_in
from tasks.data_versions.version import DataVersion, OnLine, version_data
from tasks.executor import events
from tasks.executor.pipeline import Pipeline, StageStatus
from tasks.executor.processes.runner import start
from tasks.executor.resources.gpus import Devices
from tasks.executor.run_module import run_module

_under_way: dict[Path, "Survey"] = {}


class Survey:
    """The project of one run.

    Args:
        root: its folder, whose files are checked at once.
        pipeline: its stages.

    Raises:
        GraftError: one of the files cannot be used.
    """

    def __init__(self, root: Path, pipeline: Pipeline) -> None:
        self.root, self.pipeline = root, pipeline
        self._data: DataVersion | None = None
        self._stages: list[StageStatus] | None = None
        self._has_checked_knobs = False
        self._graph = ExitStack()
        make_ready(root)

    def data(self, update: bool, on_line: OnLine | None = None) -> DataVersion:
        """Put `data/` in place as `data.dvc` records it, or with `update` version what is there.

        Raises:
            GraftError: the data is refused, changed, not available, or changes all the time.
        """
        if self._data is None:
            self._data = take_in(self.root, on_line) if update else version_data(self.root, on_line=on_line)
        return self._data

    def stages(self, *targets: str) -> list[StageStatus]:
        """What the run is to do with each stage, by default all; the graph stays open for `Pipeline.run`.

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
            GraftError: some cannot be used; all of them.
        """
        if not self._has_checked_knobs:
            start()
            run_module("tasks.checks.parameters", self.root)
            self._has_checked_knobs = True

    def again(self) -> None:
        """Forget data and stages: data/ changed since."""
        self.close()
        self._data = self._stages = None

    def close(self) -> None:
        """Close the graph."""
        self._graph.close()


@contextmanager
def survey(root: Path, jobs: int | None, devices: Devices) -> Iterator[Survey]:
    """The survey of a run in `root`, whose turn is held; within another one of this process, the same.

    Raises:
        GraftError: one of the project's files cannot be used.
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
