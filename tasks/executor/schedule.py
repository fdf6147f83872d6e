"""Decides when each stage of a plan runs: as soon as what it needs is ready, judged only then."""

import heapq
import queue
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from tasks.errors import PASSING_FAULT, GraftError
from tasks.executor.dvc_project import Node, Project
from tasks.executor.execution import Event, Executor, NotRun, Outcome, StageFailed


class Job:
    """A changed stage to bring up to date: call it, in any thread of this process; again if it raised `StageFailed`.

    Attributes:
        name: the stage.
        upstream: names of the stages it depends on.
        meta: its `meta:` in `dvc.yaml`.
    """

    def __init__(self, node: Node, executor: Executor) -> None:
        self.name, self.upstream, self.meta = node.name, node.upstream, node.meta
        self._executor = executor

    def __call__(self) -> Outcome:
        """Run it (when fewer than the allowed number of stages do).

        Raises:
            StageFailed: it failed; retry unless it says `permanent`.
            NotRun: the run stops; do not retry.
        """
        return self._executor.execute(self.name)


class JobFuture(Protocol):
    """What `submit` returns: a future of `concurrent.futures`, or a Prefect one."""

    def result(self) -> Outcome:
        """The job's outcome; raises what it raised."""

    def add_done_callback(self, fn: Callable[[Any], Any], /) -> None:
        """Call `fn` with the future when it is done, retries included."""


Submit = Callable[[Job], JobFuture]


class RunFailed(GraftError):  # noqa: N818
    """A run that did not bring every stage up to date.

    Attributes:
        outcomes: of all stages, in the order of the plan.
        failures: why, by stage.
    """

    def __init__(self, outcomes: list[Outcome], failures: dict[str, StageFailed], stopped: bool) -> None:
        self.outcomes, self.failures, self.stopped = outcomes, failures, stopped
        if not all(failure.permanent for failure in failures.values()):
            self.ends_with = PASSING_FAULT
        not_run = [outcome.name for outcome in outcomes if outcome.how == "not_run"]
        problems = [str(failure) for failure in failures.values()] or ["the run was stopped"]
        super().__init__(problems, f"Not run because of that: {', '.join(not_run)}." if not_run else "")


class Schedule:
    """One run of a plan.

    Args:
        nodes: the plan, in stock's order.
        project: judges whether a stage changed.
        executor: carries out those that did.
        submit: starts a job.
        keep_going: after a failure, go on with the stages that do not depend on it.
    """

    def __init__(
        self, nodes: Sequence[Node], project: Project, executor: Executor, submit: Submit, *, keep_going: bool
    ) -> None:
        self._nodes, self._project, self._executor, self._submit = nodes, project, executor, submit
        self._keep_going = keep_going
        self._place = {node.name: place for place, node in enumerate(nodes)}
        self._needs = {node.name: set(node.upstream) for node in nodes}
        self._ready = [place for place, node in enumerate(nodes) if not node.upstream]
        self._flying: set[str] = set()
        self._landed: queue.SimpleQueue[tuple[str, JobFuture]] = queue.SimpleQueue()
        self._outcomes: dict[str, Outcome] = {}
        self._failures: dict[str, StageFailed] = {}

    def run(self) -> list[Outcome]:
        """Run the plan; the outcomes in its order.

        Raises:
            RunFailed: not every stage was brought up to date.
        """
        try:
            self._loop()
        except BaseException:  # Ctrl-C, or a fault of ours: leave nothing running
            self._executor.stop()
            while self._flying:
                self._flying.discard(self._landed.get()[0])
            raise
        outcomes = [self._outcomes.get(node.name, Outcome(node.name, "not_run")) for node in self._nodes]
        if any(outcome.how in ("failed", "not_run") for outcome in outcomes):
            raise RunFailed(outcomes, self._failures, stopped=not self._failures)
        return outcomes

    def _loop(self) -> None:
        while self._flying or self._may_consider():
            if self._may_consider():
                self._consider(self._nodes[heapq.heappop(self._ready)])
            try:
                name, future = self._landed.get(block=bool(self._flying) and not self._may_consider())
            except queue.Empty:
                continue
            self._flying.discard(name)
            self._settle(name, future)

    def _may_consider(self) -> bool:
        """Whether a stage is ready, and a job free: one that only waits would look busy to whoever watches."""
        return bool(self._ready) and not self._executor.halted and len(self._flying) < self._executor.jobs

    def _consider(self, node: Node) -> None:
        """Skip a stage whose upstream is ready, or submit it."""
        try:
            changed = self._project.is_changed(node.name)
        except GraftError as error:
            self._fail(StageFailed(node.name, f"cannot be checked: {error}", permanent=True))
            self._executor.tell(Event(node.name, "failed"))
            return
        if not changed:
            self._executor.tell(Event(node.name, "skipped"))
            self._finish(Outcome(node.name, "up_to_date"))
            return
        self._executor.tell(Event(node.name, "queued"))
        future = self._submit(Job(node, self._executor))
        self._flying.add(node.name)
        future.add_done_callback(partial(self._land, node.name))

    def _land(self, name: str, future: JobFuture) -> None:
        self._landed.put((name, future))

    def _settle(self, name: str, future: JobFuture) -> None:
        try:
            self._finish(future.result())
        except StageFailed as failure:
            self._fail(failure)
        except NotRun:
            self._outcomes[name] = Outcome(name, "not_run")

    def _finish(self, outcome: Outcome) -> None:
        self._outcomes[outcome.name] = outcome
        for name, needs in self._needs.items():
            if outcome.name in needs:
                needs.discard(outcome.name)
                if not needs:
                    heapq.heappush(self._ready, self._place[name])

    def _fail(self, failure: StageFailed) -> None:
        self._outcomes[failure.name] = Outcome(failure.name, "failed")
        self._failures[failure.name] = failure
        if not self._keep_going:
            self._executor.halt(f"stage {failure.name} failed")
