"""`graft watch`: check the data periodically, and run what new data makes necessary.

A check reads the names, sizes and times of the files and, for an import, sends one request to its origin, so it can be
made every minute; what really changed, DVC finds out in the run. Files that are still being written are waited for.
Each run is a process of its own, so that the watching process stays small.
The libraries are imported once, by a server that the runs attach to (`tasks.executor.processes.shared_server`).
"""

import hashlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tasks.common.errors import PERMANENT_FAULT, AwayError
from tasks.common.local_server import interrupted_by_sigterm
from tasks.common.parent_death import end_with_parent
from tasks.common.places import POINTER, RAW_DATA
from tasks.data_versions.import_origin import local_origin, remote_state
from tasks.executor.processes.runner import shared_by_runs

RUN = (sys.executable, "-m", "flows.cli", "run", "--update-data")
LONGEST_WAIT = 3600.0
"""Longest delay in seconds before a run that failed for a temporary reason is tried again."""

Say = Callable[[str], None]


@dataclass
class Watch:
    """Decides when a run is due. Times are in seconds of a monotonic clock.

    Attributes:
        every: seconds between two checks.
        settle: seconds without a change before a run is due.
    """

    every: float
    settle: float
    _seen: str | None = None
    _since: float = 0.0
    _handled: str | None = None
    _failures: int = 0
    _not_before: float = 0.0

    def is_due(self, fingerprint: str, now: float) -> bool:
        """Whether the state found by a check needs a run; the first state found does, once it has settled."""
        if fingerprint != self._seen:
            self._seen, self._since = fingerprint, now
        return fingerprint != self._handled and now - self._since >= self.settle and now >= self._not_before

    def ran(self, before: str, after: str, now: float, exit_code: int) -> None:
        """Record the end of a run that found the data as `before` and left it as `after`.

        A change during the run needs another run, unless the data was refused, since a refused import is restored to
        its previous state. After a temporary failure the run is due again, with increasing delays.
        """
        if exit_code in (0, PERMANENT_FAULT):
            self._handled = after if exit_code else before
            self._seen, self._since = after, now
            self._failures = 0
        else:
            self._failures += 1
            self._not_before = now + min(LONGEST_WAIT, self.every * 2**self._failures)


class DataFingerprint:
    """All that the data of the project in `root` comes from: `data/`, `data.dvc`, and the origin of an import.

    Args:
        root: the project's folder.
        say: receives a line when a remote origin stops answering, and when it answers again.
        every: seconds between two requests to such an origin.
    """

    def __init__(self, root: Path, say: Say, every: float = 0.0) -> None:
        self._root, self._say, self._every = root, say, every
        self._remote, self._problem, self._asked = "", "", -math.inf

    def fingerprint(self) -> str:
        """A hash of the names, sizes and times of files, and of a remote origin's latest answer.

        For data.dvc its content counts, not its time: DVC rewrites it whenever an import is checked for changes.
        """
        hasher = hashlib.sha256(self._ask().encode())
        with suppress(FileNotFoundError):
            hasher.update((self._root / POINTER).read_bytes())
        for place in filter(None, (self._root / RAW_DATA, local_origin(self._root))):
            for path, size, changed in sorted(_files(place)):
                hasher.update(f"{path}\0{size}\0{changed}\n".encode(errors="surrogateescape"))
        return hasher.hexdigest()

    def _ask(self) -> str:
        if time.monotonic() - self._asked < self._every:
            return self._remote
        problem, self._asked = "", time.monotonic()
        try:
            self._remote = remote_state(self._root)
        except AwayError as error:
            problem = str(error)
        if problem != self._problem:
            self._say(problem or "the origin of data/ answers again")
        self._problem = problem
        return self._remote


def watch(root: Path, say: Say, *, every: float, settle: float) -> None:
    """Run whenever the data has changed, until Ctrl-C or SIGTERM, which also end a run in progress."""
    watched, data = Watch(every, settle), DataFingerprint(root, say, every)
    with interrupted_by_sigterm(), suppress(KeyboardInterrupt), shared_by_runs():
        while True:
            found = data.fingerprint()
            if watched.is_due(found, time.monotonic()):
                say("checking for new data")
                code = _run(root)
                watched.ran(found, data.fingerprint(), time.monotonic(), code)
                say("watching" if code in (0, PERMANENT_FAULT) else "the run failed and will be tried again")
            time.sleep(min(every, settle) or every)


def _run(root: Path) -> int:
    """Run in a separate process, which stops when this one is killed; returns its exit code."""
    process = subprocess.Popen(RUN, cwd=root, preexec_fn=end_with_parent)
    try:
        return process.wait()
    except BaseException:
        try:
            process.terminate()  # Ctrl-C reached it too; SIGTERM did not
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
        finally:
            process.kill()
        raise


def _files(place: Path) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of every file at or below `place`; files that are removed meanwhile are left out."""
    if place.is_file():
        with suppress(FileNotFoundError):
            found = place.stat()
            yield str(place), found.st_size, found.st_mtime_ns
        return
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
                continue
            with suppress(FileNotFoundError):
                found = entry.stat()
                yield entry.path, found.st_size, found.st_mtime_ns
