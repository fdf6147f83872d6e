"""Progress in the terminal: a line for each step of the flow, alive where there is a screen, one by one elsewhere."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from tasks.executor import events
from tasks.executor.execute import Event

MARKS = {"done": ("✓", "green"), "restored": ("↺", "cyan"), "skipped": ("–", "dim"), "failed": ("✗", "bold red")}
WORDS = {
    "done": "done",
    "restored": "from cache",
    "skipped": "up to date",
    "running": "running",
    "again": "to be run again",
    "failed": "failed",
}


class Progress:
    """What is known of every step; members of a matrix share a line."""

    def __init__(self, steps: list[str]) -> None:
        """`steps`: the names of all stages and steps to come, in order."""
        self._members: dict[str, dict[str, str]] = {}
        self._since: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._devices: dict[str, str] = {}
        self._line = ""
        self._spinner = Spinner("dots", style="cyan")
        for name in steps:
            self._members.setdefault(_group(name), {})[name] = ""

    def update(self, event: Event) -> None:
        """Take note of an event."""
        group = _group(event.stage)
        if event.line is not None:
            self._line = f"{event.stage}: {event.line}"
            return
        members = self._members.setdefault(group, {})
        if event.state == "skipped" and members.get(event.stage) in ("done", "restored"):
            return  # brought up to date by an earlier step of this run
        members[event.stage] = event.state
        self._devices[event.stage] = event.note.partition(",")[0].removeprefix("on ")
        if event.state == "running":
            self._since.setdefault(group, time.monotonic())
        elif group in self._since:
            self._took[group] = time.monotonic() - self._since[group]
        self._line = f"{event.stage}: {event.note}" if event.state == "again" else ""

    def __rich__(self) -> Table:
        """The table as it stands."""
        table = Table.grid(padding=(0, 2))
        for group, members in self._members.items():
            counts = Counter(members.values())
            table.add_row(
                self._mark(counts),
                Text(group),
                self._state(counts, len(members)),
                self._seconds(group, counts),
                self._where(members),
            )
        table.add_row("", "", Text(self._line[:100], "dim", no_wrap=True), "", "")
        return table

    def _mark(self, counts: Counter[str]) -> Text | Spinner:
        if counts["running"]:
            return self._spinner
        if counts["failed"]:
            return Text(*MARKS["failed"])
        if counts[""] or counts["queued"]:
            return Text("·", "dim")
        return Text(*MARKS[next(state for state in MARKS if counts[state])])

    def _state(self, counts: Counter[str], size: int) -> Text:
        if size == 1:
            return Text(next((word for state, word in WORDS.items() if counts[state]), ""))
        parts = [f"{counts[state]} {word}" for state, word in WORDS.items() if counts[state]]
        return Text(f"{', '.join(parts)} of {size}" if parts else f"{size} to go")

    def _where(self, members: dict[str, str]) -> Text:
        """The GPUs that are computed on; where there are none, nothing need be said."""
        devices = {self._devices.get(name, "") for name, state in members.items() if state == "running"}
        return Text(", ".join(sorted(devices - {"", "cpu"})), "dim")

    def _seconds(self, group: str, counts: Counter[str]) -> Text:
        running = counts["running"] and group in self._since
        seconds = time.monotonic() - self._since[group] if running else self._took.get(group)
        return Text(f"{seconds:.1f} s" if seconds else "", "dim", justify="right")


@contextmanager
def progress(console: Console, steps: list[str], *, lines: bool = False) -> Iterator[None]:
    """Show the run's progress while the block runs; in a log also, if asked for, every line that a stage prints."""
    state = Progress(steps)
    if console.is_terminal:
        with Live(state, console=console, refresh_per_second=8), events.listening(state.update):
            yield
    else:
        with events.listening(_Printer(console, lines=lines)):
            yield


class _Printer:
    """A line for every step that has ended, once; later steps of a run find the earlier ones up to date."""

    def __init__(self, console: Console, *, lines: bool = False) -> None:
        self._console, self._lines = console, lines
        self._said: set[str] = set()

    def __call__(self, event: Event) -> None:
        if self._lines and event.line is not None:
            self._console.print(f"  {event.stage} | {event.line}", highlight=False, markup=False, soft_wrap=True)
        if event.state == "again":
            self._console.print(f"↻ {event.stage}: {event.note}", highlight=False, markup=False, soft_wrap=True)
        known = event.state == "skipped" and event.stage in self._said
        if event.state in MARKS and event.line is None and not known:
            self._said.add(event.stage)
            took = "" if event.state == "skipped" else f", {event.seconds:.1f} s"
            self._console.print(f"{MARKS[event.state][0]} {event.stage}: {WORDS[event.state]}{took}", highlight=False)


def _group(name: str) -> str:
    return name.partition("@")[0]
