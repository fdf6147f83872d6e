"""Decides when each stage of a plan runs: as soon as what it needs is ready, judged only then."""

import heapq
import queue
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from tasks.common.errors import PASSING_FAULT, GraftError
from tasks.executor.dvc.dvc_project import Node, Project
from tasks.executor.execute import Event, Executor, NotRun, Outcome, StageFailed, kind
from tasks.executor.resources.resources import Held, Resources

_PATIENCE = 0.25
"""Seconds between two looks at whether another run on this machine has given a device back."""


class Job:
    """A changed stage to bring up to date: call it once, in any thread of this process.

    Attributes:
        name: the stage.
        upstream: names of the stages it depends on.
    """

    def __init__(self, node: Node, executor: Executor, held: Held) -> None:
        self.name, self.upstream = node.name, node.upstream
        self._executor, self._held, self._retries = executor, held, node.needs.retries

    def __call__(self) -> Outcome:
        """Run it, and again after a problem that may pass.

        Raises:
            StageFailed: it failed, for good.
            NotRun: the run stops.
        """
        return self._executor.execute(self.name, self._held, self._retries)


class JobFuture(Protocol):
    """What `submit` returns: a future of `concurrent.futures`, or a Prefect one."""

    def result(self) -> Outcome:
        """The job's outcome; raises what it raised."""

    def add_done_callback(self, fn: Callable[[Any], Any], /) -> None:
        """Call `fn` with the future when it is done."""


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
        nodes: the plan, in stock's order; what they need and is not among them is ready.
        project: judges whether a stage changed.
        executor: carries out those that did.
        resources: the threads and GPUs that they share.
        submit: starts a job.
        jobs: how many stages run at once.
        keep_going: after a failure, go on with the stages that do not depend on it.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        project: Project,
        executor: Executor,
        resources: Resources,
        submit: Submit,
        *,
        jobs: int,
        keep_going: bool,
    ) -> None:
        self._nodes, self._project, self._executor, self._submit = nodes, project, executor, submit
        self._resources, self._jobs, self._keep_going = resources, jobs, keep_going
        self._waiting: list[Node] = []
        self._held: dict[str, Held] = {}
        self._place = {node.name: place for place, node in enumerate(nodes)}
        self._needs = {node.name: self._place.keys() & set(node.upstream) for node in nodes}
        self._ready = [place for place, node in enumerate(nodes) if not self._needs[node.name]]
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
        except BaseException:  # Ctrl-C, or a problem of ours: leave nothing running
            self._executor.stop()
            while self._held:
                self._give_back(self._landed.get()[0])
            raise
        outcomes = [self._outcomes.get(node.name, Outcome(node.name, "not_run")) for node in self._nodes]
        if any(outcome.how in ("failed", "not_run") for outcome in outcomes):
            raise RunFailed(outcomes, self._failures, stopped=not self._failures)
        return outcomes

    def _loop(self) -> None:
        while True:
            while self._may_go_on() and self._ready:
                self._consider(self._nodes[heapq.heappop(self._ready)])
                self._start_waiting()
            self._start_waiting()
            waits_for_others = bool(self._waiting) and not self._executor.halted
            if not self._held and not waits_for_others:
                return
            try:
                name, future = self._landed.get(timeout=_PATIENCE if waits_for_others else None)
            except queue.Empty:
                continue
            self._give_back(name)
            self._settle(name, future)

    def _may_go_on(self) -> bool:
        """Whether a job is free: a stage that only waits for one would look busy to whoever watches."""
        return not self._executor.halted and len(self._held) < self._jobs

    def _start_waiting(self) -> None:
        """Submit, in their order, the stages for which all is free; none overtakes another in what both need."""
        left: list[Node] = []
        for place, node in enumerate(self._waiting):
            if not self._may_go_on() or not self._resources.has_threads(node.needs):
                left += self._waiting[place:]
                break
            wants_gpu = self._resources.wants_gpu(node.needs)
            overtakes = wants_gpu and any(self._resources.wants_gpu(other.needs) for other in left)
            held = None if overtakes else self._resources.take(node.needs)
            if held is None:
                left.append(node)
                continue
            self._held[node.name] = held
            try:
                self._submit(Job(node, self._executor, held)).add_done_callback(partial(self._land, node.name))
            except BaseException:  # Ctrl-C, too: maybe nothing will land that `run` could wait for
                self._give_back(node.name)
                raise
        self._waiting = left

    def _give_back(self, name: str) -> None:
        """What the stage held is free; nothing happens if it was given back before."""
        if held := self._held.pop(name, None):
            self._resources.give_back(held)

    def _consider(self, node: Node) -> None:
        """Skip a stage whose upstream is ready, or have it wait for its threads and device."""
        try:
            changed = self._project.is_changed(node.name)
        except GraftError as error:
            self._fail(StageFailed(node.name, f"cannot be checked: {error}", fault=kind(error)))
            self._executor.tell(Event(node.name, "failed"))
            return
        if not changed:
            self._executor.tell(Event(node.name, "skipped"))
            self._finish(Outcome(node.name, "up_to_date"))
            return
        self._executor.tell(Event(node.name, "queued"))
        self._waiting.append(node)

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
