"""Runs what DVC would run, in parallel: each stage as soon as what it needs is ready, and only if it changed.

    Pipeline(root).run()                 # what `dvc repro` does
    Pipeline(root).run(["finetune"])     # a stage, or all members of a matrix
    Pipeline(root).status()              # what would happen

DVC says whether a stage must run (`executor.dvc`), a runner where its command runs (`executor.processes`), and the
schedule when (`executor.schedule`). Someone else may do the waiting: `submit` takes a job (a Prefect task run, say) and
returns its future.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tasks.executor.dvc.dvc_project import Node, Project
from tasks.executor.dvc.dvc_stage import Judgement
from tasks.executor.execute import Event, Executor, Outcome
from tasks.executor.one_run_at_a_time import IfBusy, turn
from tasks.executor.processes.runner import Runner, shared_runner
from tasks.executor.resources.gpus import Devices, find_devices
from tasks.executor.resources.resources import Resources
from tasks.executor.schedule import Schedule, Submit
from tasks.stage.code import refresh


@dataclass(frozen=True)
class StageStatus:
    """What a run would do with a stage, as things are now.

    Attributes:
        name: the stage.
        state: `waits` is that of a stage whose own inputs have not changed yet, but may when those before it have run;
            `running` that of one which another process runs now.
        reasons: for people, one line each.
    """

    name: str
    state: Literal["up_to_date", "will_restore", "will_run", "waits", "running"]
    reasons: tuple[str, ...] = ()


@dataclass
class _Reading:
    """A project's graph as it was read once, and the stages that were brought up to date since."""

    project: Project
    targets: frozenset[str]
    nodes: list[Node]
    settled: set[str] = field(default_factory=set)

    def nodes_of(self, targets: Iterable[str]) -> list[Node]:
        """Those that the targets name, with all that these need; all of them if none is named."""
        wanted = frozenset(targets)
        if not wanted or wanted == self.targets:
            return self.nodes
        found: set[str] = set()
        for node in reversed(self.nodes):  # whoever needs a stage comes after it
            if node.name in found or node.name in wanted or node.name.partition("@")[0] in wanted:
                found |= {node.name, *node.upstream}
        return [node for node in self.nodes if node.name in found]


class Pipeline:
    """The stages of a DVC project.

    Args:
        root: the folder in which `dvc repro` would be called.
        jobs: how many stages run at once; by default as many as there are cores. Stages that ask for several threads
            (`meta: {threads: N}`) share the cores.
        on_event: is told of every change and every line of output; called by one thread at a time.
        runner: where commands run.
        if_busy: what to do while another process runs this repository's stages: wait for its end, or raise.
        devices: the GPUs that stages are given (`meta: {device: SHARE}`); by default all that are found.
        leases: the folder in which GPUs are leased; by default one that all runs on this machine share.
        takes_data: whether tracked data that changed (`data.dvc`) is recorded as it is, as `dvc repro` does; if not, a
            run fails with it.
    """

    def __init__(
        self,
        root: Path,
        *,
        jobs: int | None = None,
        on_event: Callable[[Event], None] | None = None,
        runner: Runner | None = None,
        if_busy: IfBusy = "wait",
        devices: Devices | None = None,
        leases: Path | None = None,
        takes_data: bool = True,
    ) -> None:
        self._devices, self._leases, self._takes_data = devices, leases, takes_data
        self._root, self._jobs, self._runner, self._if_busy = root, jobs, runner, if_busy
        self._on_event = on_event or (lambda _: None)
        self._reading: _Reading | None = None
        self._stopped = False
        self._lock = threading.RLock()  # `stop` may be called by a signal handler, in the midst of what holds it
        self._end: Callable[[], None] = lambda: None

    @contextmanager
    def opened(self, targets: Iterable[str] = ()) -> Iterator[None]:
        """Read the graph once for all calls within the block, whose targets are among these, and judge it once.

        What is edited meanwhile is for the next one. Hold the repository's `turn`, if the calls are more than a look.

        Raises:
            GraftError: the pipeline cannot be read, or a target does not exist.
        """
        refresh(self._root)
        project, targets = Project(self._root, takes_data=self._takes_data), tuple(targets)
        try:
            self._stop_by(project.give_up)
            self._reading = _Reading(project, frozenset(targets), project.plan(targets))
            yield
        finally:
            self._reading = None
            project.close()

    def status(self, targets: Iterable[str] = ()) -> list[StageStatus]:
        """What `run` would do with each stage; nothing is run, and nothing written but `code.yaml`.

        Raises:
            GraftError: the pipeline cannot be read, or a target does not exist.
        """
        targets = tuple(targets)
        with self._read(targets) as reading:
            judged, found = reading.project.judge(), dict[str, StageStatus]()
            for node in reading.nodes_of(targets):
                found[node.name] = _status(reading.project, node, judged[node.name], found)
            return list(found.values())

    def run(
        self,
        targets: Iterable[str] = (),
        *,
        submit: Submit | None = None,
        keep_going: bool = False,
    ) -> list[Outcome]:
        """Bring the targets (by default all that `dvc repro` would) up to date, in as many jobs as allowed.

        Args:
            targets: stages, groups (`finetune`), members (`finetune@mixed-0`), `dvc.yaml` and `.dvc` files.
            submit: starts a job somewhere and returns its future; by default a thread of this process.
            keep_going: after a failure, go on with the stages that do not depend on it.

        Returns:
            One outcome per stage, in the order of `dvc repro`; of a pipeline that is `opened`, of those stages that
            earlier calls have not brought up to date.

        Raises:
            RunFailed: stages failed, or `stop` was called; it holds all outcomes.
            GraftError: the pipeline cannot be read, a target does not exist, or the repository is busy.
        """
        targets = tuple(targets)
        with ExitStack() as stack:
            stack.enter_context(self.turn())
            reading = stack.enter_context(self._read(targets))
            nodes = [node for node in reading.nodes_of(targets) if node.name not in reading.settled]
            jobs = self._jobs or cores()
            resources = Resources(max(jobs, cores()), self._devices or find_devices(), self._leases)
            executor = Executor(reading.project, self._runner or shared_runner(), self._on_event)
            self._stop_by(executor.stop)
            if submit is None:
                pool = stack.enter_context(ThreadPoolExecutor(jobs, thread_name_prefix="stage"))
                submit = pool.submit
            schedule = Schedule(nodes, reading.project, executor, resources, submit, jobs=jobs, keep_going=keep_going)
            outcomes = schedule.run()
            reading.settled.update(outcome.name for outcome in outcomes)
            return outcomes

    @contextmanager
    def _read(self, targets: Iterable[str]) -> Iterator["_Reading"]:
        """The reading that is open, or one for this call."""
        with nullcontext() if self._reading else self.opened(targets):
            assert self._reading is not None
            yield self._reading

    def turn(self) -> AbstractContextManager[None]:
        """Hold the repository, as `run` does, for longer: what is looked at before is then still so.

        Raises:
            Busy: another process has its turn, and is not to be waited for.
        """
        return turn(self._root, self._if_busy)

    def stop(self) -> None:
        """End what runs, start nothing new; `run` then raises. May be called from any thread, and for good."""
        with self._lock:
            self._stopped = True
            self._end()

    def _stop_by(self, end: Callable[[], None]) -> None:
        """From now on `stop` means `end`; at once, if it was called already."""
        with self._lock:
            self._end = end
            if self._stopped:
                end()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _status(project: Project, node: Node, judged: Judgement, found: dict[str, StageStatus]) -> StageStatus:
    before = [name for name in node.upstream if name in found and found[name].state != "up_to_date"]
    if judged.state == "up_to_date" and before:
        return StageStatus(node.name, "waits", (f"after {', '.join(before)}",))
    if judged.state != "changed":
        return StageStatus(node.name, judged.state, judged.reasons)
    restorable = not before and project.can_restore(node.name)
    return StageStatus(node.name, "will_restore" if restorable else "will_run", judged.reasons)
