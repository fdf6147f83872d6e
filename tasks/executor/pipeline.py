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
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
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
        self._stopped = False
        self._lock = threading.RLock()  # `stop` may be called by a signal handler, in the midst of what holds it
        self._end: Callable[[], None] = lambda: None

    def status(self, targets: Iterable[str] = ()) -> list[StageStatus]:
        """What `run` would do with each stage; nothing is run, and nothing written but `code.yaml`.

        Raises:
            GraftError: the pipeline cannot be read, or a target does not exist.
        """
        refresh(self._root)
        project = Project(self._root)
        try:
            nodes, found = project.plan(targets), dict[str, StageStatus]()
            judged = project.judge()
            for node in nodes:
                found[node.name] = _status(project, node, judged[node.name], found)
            return list(found.values())
        finally:
            project.close()

    def run(
        self,
        targets: Iterable[str] = (),
        *,
        submit: Submit | None = None,
        keep_going: bool = False,
        settled: Collection[str] = (),
    ) -> list[Outcome]:
        """Bring the targets (by default all that `dvc repro` would) up to date, in as many jobs as allowed.

        Args:
            targets: stages, groups (`finetune`), members (`finetune@mixed-0`), `dvc.yaml` and `.dvc` files.
            submit: starts a job somewhere and returns its future; by default a thread of this process.
            keep_going: after a failure, go on with the stages that do not depend on it.
            settled: stages of which no more is asked: earlier calls have brought them up to date. What is edited
                meanwhile is for the next run.

        Returns:
            One outcome a stage that is not settled, in the order of `dvc repro`.

        Raises:
            RunFailed: stages failed, or `stop` was called; it holds all outcomes.
            GraftError: the pipeline cannot be read, a target does not exist, or the repository is busy.
        """
        with ExitStack() as stack:
            stack.enter_context(self.turn())
            refresh(self._root)
            project = Project(self._root, takes_data=self._takes_data)
            stack.callback(project.close)
            self._stop_by(project.give_up)
            nodes = [node for node in project.plan(targets) if node.name not in settled]
            jobs = self._jobs or cores()
            resources = Resources(max(jobs, cores()), self._devices or find_devices(), self._leases)
            executor = Executor(project, self._runner or shared_runner(), self._on_event)
            self._stop_by(executor.stop)
            if submit is None:
                pool = stack.enter_context(ThreadPoolExecutor(jobs, thread_name_prefix="stage"))
                submit = pool.submit
            schedule = Schedule(nodes, project, executor, resources, submit, jobs=jobs, keep_going=keep_going)
            return schedule.run()

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
