"""One run at a time in a repository: whoever comes second waits its turn, or is told who works there.

DVC's own locks keep single steps apart. Two whole runs next to each other would still do the same work twice, and stop
each other's stages in between.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from tasks.common.errors import PASSING_FAULT, GraftError
from tasks.common.files import write_json
from tasks.executor.machine_folder import state_folder

logger = logging.getLogger("graft.executor")

IfBusy = Literal["wait", "skip", "fail"]
"""skip: as `fail` here; whoever asked then leaves the run out, and says so."""
_PATIENCE = 0.5
"""Seconds between two attempts, after each of which Ctrl-C is heard."""
_locks: dict[Path, FileLock] = {}
_guard = threading.Lock()


class Busy(GraftError):  # noqa: N818
    """Another run works in this repository.

    Args:
        who: has its turn.
        may_skip: whether to leave a run out for that is as good an end as any.
    """

    def __init__(self, who: str, *, may_skip: bool) -> None:
        super().__init__(f"another run works in this repository: {who}", "Wait for its end, or run again.")
        self.ends_with = 0 if may_skip else PASSING_FAULT


@contextmanager
def turn(root: Path, if_busy: IfBusy = "wait") -> Iterator[None]:
    """Hold the repository around `root` for a run; within one process turns may be nested.

    The system frees the lock when its process ends, however it ends: there is nothing to clean up after a crash.

    Raises:
        Busy: another process has its turn, and `if_busy` is not `wait`.
    """
    folder = state_folder(root)
    lock, holder = _lock(folder / "graft-run.lock"), folder / "graft-run.json"
    _acquire(lock, holder, if_busy)
    try:
        if lock.lock_counter == 1:
            write_json(holder, {"pid": os.getpid(), "command": " ".join(sys.argv)})
        yield
    finally:
        if lock.lock_counter == 1:
            holder.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, holder: Path, if_busy: IfBusy) -> None:
    has_said_so = False
    while True:
        try:
            lock.acquire(timeout=_PATIENCE if if_busy == "wait" else 0)
        except Timeout:
            who = _who(holder)
            if if_busy != "wait":
                raise Busy(who, may_skip=if_busy == "skip") from None
            if not has_said_so:
                logger.warning("waiting for another run in this repository: %s", who)
            has_said_so = True
        else:
            return


def _who(holder: Path) -> str:
    """The process that has its turn, as far as it is known."""
    try:
        found = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {found['pid']} ({found['command']})"
    except (OSError, ValueError, KeyError):
        return "a process that has just begun"


def _lock(path: Path) -> FileLock:
    """The one lock of this process for that file: only then does it count how often it is held."""
    with _guard:
        if path not in _locks:
            _locks[path] = FileLock(path, thread_local=False)
        return _locks[path]
