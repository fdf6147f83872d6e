"""`graft watch`: look at the data again and again, and run what new data makes necessary.

A look costs the names, sizes and times of the files, and of an import from elsewhere one question to its origin, so it
can be taken every minute; what really changed, DVC finds out in the run. Files that are still being written are waited
for. Each run is a process of its own: the one that watches stays as small as it began. Next to it waits the server that
runs attach to (`tasks.executor.processes.shared_server`), so that they need not import the libraries.
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
from tasks.data_versions.dvc_data import DATA, POINTER
from tasks.data_versions.import_origin import local_origin, remote_state
from tasks.executor.processes.runner import shared_by_runs

RUN = (sys.executable, "-m", "flows.cli", "run", "--update-data")
LONGEST_WAIT = 3600.0
"""Seconds between two attempts, however often a run has failed for what may pass."""

Say = Callable[[str], None]


@dataclass
class Watch:
    """Decides when a run is due. Times are in seconds, of any clock that only goes forward.

    Attributes:
        every: between two looks.
        settle: how long nothing may have changed before a run is due.
    """

    every: float
    settle: float
    _seen: str | None = None
    _since: float = 0.0
    _handled: str | None = None
    _failures: int = 0
    _not_before: float = 0.0

    def is_due(self, fingerprint: str, now: float) -> bool:
        """Whether what a look found calls for a run; what the first look finds does, once it has settled."""
        if fingerprint != self._seen:
            self._seen, self._since = fingerprint, now
        return fingerprint != self._handled and now - self._since >= self.settle and now >= self._not_before

    def ran(self, before: str, after: str, now: float, exit_code: int) -> None:
        """A run has ended, that found the data as `before` and left it as `after`.

        What changed while it worked is looked at by another run, unless the data was refused: news of an import is put
        back then. After a problem that may pass it is due again, ever later.
        """
        if exit_code in (0, PERMANENT_FAULT):
            self._handled = after if exit_code else before
            self._seen, self._since = after, now
            self._failures = 0
        else:
            self._failures += 1
            self._not_before = now + min(LONGEST_WAIT, self.every * 2**self._failures)


class Look:
    """Looks at all that the data of the project in `root` comes from: `data/`, `data.dvc`, and the origin of an import.

    Args:
        root: the project's folder.
        say: is told when an origin that is not on this machine cannot be asked, and when it can be again.
        every: seconds after which such an origin is asked again.
    """

    def __init__(self, root: Path, say: Say, every: float = 0.0) -> None:
        self._root, self._say, self._every = root, say, every
        self._remote, self._problem, self._asked = "", "", -math.inf

    def fingerprint(self) -> str:
        """A hash of names, sizes and times of files, and of what an origin elsewhere said when it was last asked.

        Of data.dvc it is what it says: DVC writes it again whenever an import is asked for news.
        """
        hasher = hashlib.sha256(self._ask().encode())
        with suppress(FileNotFoundError):
            hasher.update((self._root / POINTER).read_bytes())
        for place in filter(None, (self._root / DATA, local_origin(self._root))):
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
            self._say(problem or "data's origin answers again")
        self._problem = problem
        return self._remote


def watch(root: Path, say: Say, *, every: float, settle: float) -> None:
    """Run whenever the data has changed, until Ctrl-C or SIGTERM, which end a run that is under way."""
    watched, look = Watch(every, settle), Look(root, say, every)
    with interrupted_by_sigterm(), suppress(KeyboardInterrupt), shared_by_runs():
        while True:
            found = look.fingerprint()
            if watched.is_due(found, time.monotonic()):
                say("looking for new data")
                code = _run(root)
                watched.ran(found, look.fingerprint(), time.monotonic(), code)
                say("watching" if code in (0, PERMANENT_FAULT) else "it will be tried again")
            time.sleep(min(every, settle) or every)


def _run(root: Path) -> int:
    """Run in a process of its own, which stops when this one is killed; its exit code."""
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
    """Path, size and time of every file at or below `place`; those that vanish meanwhile are left out."""
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
