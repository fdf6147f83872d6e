"""Processes that end with the one that started them, however that ends. On Linux; elsewhere they would live on."""

import contextlib
import ctypes
import os
import signal
import threading

SERVICE = "GRAFT_SERVICE"
"""In the environment of the runs that `graft schedule` starts: its process."""
_PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Have Linux send this process a signal when the thread that started it has ended, or this thread of its own."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def end_with_service() -> None:
    """If this is a run of `graft schedule`: end at once when that is killed, and all that this run started with it.

    The service goes on with such a run when it is started again. By then nobody may be left who works at it.
    """
    if service := os.environ.pop(SERVICE, ""):
        threading.Thread(target=_hold, args=(int(service),), daemon=True, name="lifeline").start()


def _hold(service: int) -> None:
    """Linux forgets the wish when the thread ends that uttered it, and Prefect imports flows in any thread."""
    end_with_parent(signal.SIGKILL)
    if os.getppid() == service:
        threading.Event().wait()
    os.kill(os.getpid(), signal.SIGKILL)
