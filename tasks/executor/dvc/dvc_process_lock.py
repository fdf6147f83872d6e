"""DVC's lock of a project, which one of its processes holds at a time."""

import logging
import traceback
from collections.abc import Callable
from threading import Event
from typing import Any

from dvc.lock import LockError

logger = logging.getLogger("graft.dvc")


def wait_for_lock(repo: Any, take: Callable[[], object], giving_up: Event | None = None) -> None:
    """Call `take`, which takes the lock of `repo`, until no other process holds it.

    Raises:
        LockError: another holds it still, and `giving_up` is set.
    """
    has_said_so = False
    while True:
        try:
            take()
        except LockError:  # after three seconds
            if giving_up and giving_up.is_set():
                raise
            if not has_said_so:
                logger.warning("waiting for another DVC process to release %s", repo.lock.lockfile)
            has_said_so = True
        except OSError as error:
            traceback.clear_frames(error.__traceback__)  # one of them holds the lock, which could not be written
            raise
        else:
            return
