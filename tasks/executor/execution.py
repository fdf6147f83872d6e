"""Carries one changed stage through: claim it, run its commands, record what they made."""

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tasks.errors import PERMANENT_FAULT, GraftError
from tasks.executor.dvc_project import Claim, Project, TransientError
from tasks.executor.warm import Command, Runner, Running

TAIL = 20
"""How many last lines of its output a failure quotes."""

How = Literal["up_to_date", "restored", "ran", "committed", "failed", "not_run"]
State = Literal["queued", "running", "skipped", "restored", "done", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a stage.

    Attributes:
        name: the stage.
        how: `committed` is said of what DVC itself brings up to date (`data.dvc`, imports, frozen stages).
        seconds: how long it took, the waiting for a free job not included.
    """

    name: str
    how: How
    seconds: float = 0.0


@dataclass(frozen=True)
class Event:
    """Something that happened to a stage: it changed its state, or (while `running`) printed a line."""

    stage: str
    state: State
    seconds: float = 0.0
    line: str | None = None


class StageFailed(GraftError):  # noqa: N818  (named for what is read in a log)
    """A stage failed.

    Attributes:
        name: the stage.
        exit_code: of its command; negative for the signal that ended it; None if the fault is not the command's.
        tail: the last lines of its output.
        permanent: whether a retry is pointless (bad data, bad parameters, a missing input).
    """

    def __init__(
        self, name: str, reason: str, *, permanent: bool, exit_code: int | None = None, tail: str = ""
    ) -> None:
        self.name, self.exit_code, self.tail, self.permanent = name, exit_code, tail, permanent
        super().__init__(f"stage {name} {reason}" + (f"\n{tail}" if tail else ""))


class NotRun(GraftError):  # noqa: N818
    """A job was not started, or was ended, because the run stops."""


class Executor:
    """Executes stages of one plan, at most `jobs` at once.

    Args:
        project: the plan's project.
        runner: where commands run.
        jobs: how many stages at once.
        on_event: is told what happens, by one thread at a time.
    """

    def __init__(self, project: Project, runner: Runner, jobs: int, on_event: Callable[[Event], None]) -> None:
        self._project, self._runner, self._on_event = project, runner, on_event
        self.jobs = jobs
        self._slots = threading.Semaphore(jobs)
        self._telling = threading.Lock()
        self._lock = threading.RLock()  # `stop` may be called by a signal handler, in the midst of what holds it
        self._running: set[Running] = set()
        self._reason = ""
        self._killing = False

    def execute(self, name: str) -> Outcome:
        """Bring a changed stage up to date; may be called again when it failed.

        Raises:
            StageFailed: it failed.
            NotRun: it was not started, or was ended, because the run stops.
        """
        with self._slots:
            self._go_on(name)
            begin = time.monotonic()
            self.tell(Event(name, "running"))
            try:
                how = self._carry_out(name)
            except (GraftError, OSError) as error:
                self.tell(Event(name, "failed", time.monotonic() - begin))
                if isinstance(error, (StageFailed, NotRun)):
                    raise
                permanent = not isinstance(error, (TransientError, OSError))
                raise StageFailed(name, f"failed: {error}", permanent=permanent) from error
            outcome = Outcome(name, how, time.monotonic() - begin)
            self.tell(Event(name, "restored" if how == "restored" else "done", outcome.seconds))
            return outcome

    def tell(self, event: Event) -> None:
        """Pass an event on, one at a time."""
        with self._telling:
            self._on_event(event)

    def halt(self, reason: str) -> None:
        """Start nothing new; what runs may end."""
        with self._lock:
            self._reason = self._reason or reason

    def stop(self) -> None:
        """Start nothing new, and end what runs."""
        self.halt("the run was stopped")
        self._project.give_up()
        with self._lock:
            self._killing = True
            for running in self._running:
                running.kill()

    @property
    def halted(self) -> bool:
        """Whether nothing new is started."""
        return bool(self._reason)

    def _go_on(self, name: str) -> None:
        if self._reason:
            raise NotRun(f"stage {name} was not run: {self._reason}")

    def _carry_out(self, name: str) -> Literal["restored", "committed", "ran"]:
        claim = self._project.claim(name)
        if not isinstance(claim, Claim):
            return claim
        try:
            for command in claim.commands:
                self._run(name, command)
        except BaseException:
            with contextlib.suppress(GraftError):  # DVC is busy: it drops the claims of a process that has ended
                self._project.release(claim)
            raise
        self._project.record(claim)
        return "ran"

    def _run(self, name: str, command: Command) -> None:
        tail: deque[str] = deque(maxlen=TAIL)

        def on_line(line: str) -> None:
            tail.append(line)
            self.tell(Event(name, "running", line=line))

        with self._lock:
            self._go_on(name)
            running = self._runner.start(command, on_line)
            self._running.add(running)
        try:
            code = running.wait()
        finally:
            with self._lock:
                self._running.discard(running)
        if code and self._killing:
            raise NotRun(f"stage {name} was ended: {self._reason}")
        if code:
            reason = f"failed with exit code {code}" if code > 0 else f"was ended by {_signal_name(-code)}"
            raise StageFailed(
                name,
                f"{reason}: {command.line}",
                permanent=code == PERMANENT_FAULT,
                exit_code=code,
                tail="\n".join(tail),
            )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
