"""Processes that end when their parent ends, in whatever way. On Linux only; elsewhere they keep running."""

import contextlib
import ctypes
import os
import signal
import threading

SERVICE = "GRAFT_SERVICE"
"""Environment variable of runs that `graft schedule` starts: the id of its process."""
_PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Have Linux send this process a signal when the thread that started it ends."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def end_with_service() -> None:
    """In a run of `graft schedule`: end at once when the schedule is killed, with everything that this run started.

    A restarted schedule resumes such a run, and by then no other process may be working on it.
    """
    if service := os.environ.pop(SERVICE, ""):
        threading.Thread(target=_hold, args=(int(service),), daemon=True, name="lifeline").start()


def _hold(service: int) -> None:
    """Keep a thread alive: Linux drops the request when the requesting thread ends, and Prefect imports flows in any
    thread."""
    end_with_parent(signal.SIGKILL)
    if os.getppid() == service:
        threading.Event().wait()
    os.kill(os.getpid(), signal.SIGKILL)
