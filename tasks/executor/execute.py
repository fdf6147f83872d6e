"""Carries one changed stage through: claim it, run its commands, record what they made."""

import contextlib
import itertools
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tasks.common.errors import OUT_OF_MEMORY, PERMANENT_FAULT, TEMPORARY_FAULT, GraftError, in_words
from tasks.executor import run_journal
from tasks.executor.dvc.dvc_project import Claim, Project, SourceChangedError, TransientError
from tasks.executor.processes.runner import Command, Runner, Running
from tasks.executor.resources.resources import Held
from tasks.executor.retries import Again, Fault, once_more
from tasks.executor.run_journal import Ran
from tasks.stage.process import PARTS_VARIABLE

TAIL = 20
"""How many last lines of its output a failure quotes."""

How = Literal["up_to_date", "restored", "ran", "committed", "failed", "not_run"]
State = Literal["queued", "running", "again", "skipped", "restored", "done", "failed"]


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
    """Something that happened to a stage: it changed its state, or (while `running`) printed a line.

    Attributes:
        stage: its name.
        state: `again` is that of a stage that failed and will be run once more.
        seconds: since it began.
        line: of its output.
        note: what else there is to say: the device it was given, why it is run again.
    """

    stage: str
    state: State
    seconds: float = 0.0
    line: str | None = None
    note: str = ""


class StageFailed(GraftError):  # noqa: N818  (named for what is read in a log)
    """A stage failed.

    Attributes:
        name: the stage.
        exit_code: of its command; negative for the signal that ended it; None if the problem is not the command's.
        tail: the last lines of its output.
        problem: of which kind it is.
    """

    def __init__(self, name: str, reason: str, *, fault: Fault, exit_code: int | None = None, tail: str = "") -> None:
        self.name, self.exit_code, self.tail, self.fault = name, exit_code, tail, fault
        super().__init__(in_words(Exception(f"stage {name} {reason}" + (f"\n{tail}" if tail else ""))))

    @property
    def permanent(self) -> bool:
        """Whether to run it again is pointless: bad data, bad parameters, a missing input."""
        return self.fault == "permanent"


class NotRun(GraftError):  # noqa: N818
    """A job was not started, or was ended, because the run stops."""


class Executor:
    """Executes stages of one plan.

    Args:
        project: the plan's project.
        runner: where commands run.
        on_event: is told what happens, by one thread at a time.
    """

    def __init__(self, project: Project, runner: Runner, on_event: Callable[[Event], None]) -> None:
        self._project, self._runner, self._on_event = project, runner, on_event
        self._halted = threading.Event()
        self._telling = threading.Lock()
        self._lock = threading.RLock()  # `stop` may be called by a signal handler, in the midst of what holds it
        self._running: set[Running] = set()
        self._reason = ""
        self._killing = False

    def execute(self, name: str, held: Held, retries: int | None = None) -> Outcome:
        """Bring a changed stage up to date; run it again after a problem that may pass, later or with less memory.

        Args:
            name: the stage.
            held: the threads and the device that it may use.
            retries: how often, if the stage says so.

        Raises:
            StageFailed: it failed.
            NotRun: it was not started, or was ended, because the run stops.
        """
        begin, parts = time.monotonic(), 1
        for attempt in itertools.count(1):
            self._go_on(name)
            self.tell(Event(name, "running", note=_where(held)))
            try:
                how = self._attempt(name, held, attempt, parts)
            except StageFailed as failure:
                again = once_more(failure.fault, attempt, parts, retries)
                if again is None or self.halted:
                    self.tell(Event(name, "failed", time.monotonic() - begin))
                    raise
                self.tell(Event(name, "again", time.monotonic() - begin, note=_why(failure, again)))
                self._halted.wait(again.seconds)
                parts = again.parts
            except NotRun:
                self.tell(Event(name, "failed", time.monotonic() - begin))
                raise
            else:
                break
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
            self._halted.set()

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
        return self._halted.is_set()

    def _go_on(self, name: str) -> None:
        if self._reason:
            raise NotRun(f"stage {name} was not run: {self._reason}")

    def _attempt(self, name: str, held: Held, attempt: int, parts: int) -> How:
        try:
            return self._carry_out(name, held, Ran(held.device, held.threads, attempt, parts))
        except (StageFailed, NotRun):
            raise
        except (GraftError, OSError) as error:
            raise StageFailed(name, f"failed: {in_words(error)}", fault=kind(error)) from error

    def _carry_out(self, name: str, held: Held, ran: Ran) -> How:
        claim = self._project.claim(name)
        if not isinstance(claim, Claim):
            return claim
        try:
            for command in claim.commands:
                given = {**command.environment, **held.environment, PARTS_VARIABLE: str(ran.batch_parts)}
                self._run(name, replace(command, environment=given, keep=held.descriptors))
            run_journal.note(self._project.root, claim.key, ran)
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

        kills = memory_kills()
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
            fault = _fault(code, memory_kills() > kills)
            said = _reason(code, fault)
            raise StageFailed(name, f"{said}: {command.line}", fault=fault, exit_code=code, tail="\n".join(tail))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def memory_kills() -> int:
    """How many processes of this machine the kernel has killed because memory was full; 0 where it does not say."""
    try:
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines())
        return int(counters["oom_kill"])
    except (OSError, KeyError, ValueError):
        return 0


def _where(held: Held) -> str:
    """The device and the threads of a stage, where there is a choice of them."""
    threads = f"{held.threads} thread" + "s" * (held.threads > 1)
    return f"on {held.device}, {threads}"


def _why(failure: StageFailed, again: Again) -> str:
    if failure.fault == "memory":
        return f"memory was short: once more with each batch in {again.parts} parts, its gradients added up"
    return f"{str(failure).splitlines()[0]}; once more in {again.seconds:.0f} s"


def kind(error: GraftError | OSError) -> Fault:
    """Of a problem that is not the command's. Changed data may pass, but not while this run goes on."""
    if isinstance(error, SourceChangedError):
        return "unknown"
    return "passing" if isinstance(error, TransientError) else "permanent"


def _fault(code: int, killed_for_memory: bool) -> Fault:
    if code == OUT_OF_MEMORY or (code == -signal.SIGKILL and killed_for_memory):
        return "memory"
    if code == PERMANENT_FAULT:
        return "permanent"
    return "passing" if code == TEMPORARY_FAULT or code < 0 else "unknown"


def _reason(code: int, fault: Fault) -> str:
    said = f"failed with exit code {code}" if code > 0 else f"was ended by {_signal_name(-code)}"
    if fault == "memory":
        return f"{said} (memory was short)"
    return f"{said} (to run it again cannot help)" if fault == "permanent" else said
