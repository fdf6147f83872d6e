"""What happens during a run, told to whoever listens: the terminal's display, the logs."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.executor.execute import Event

Listener = Callable[[Event], None]

_listeners: list[Listener] = []
_logger = logging.getLogger("graft.stages")


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` called with every event while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def tell(event: Event) -> None:
    """Pass an event to all listeners, and to the log.

    It is called in the thread that carries the stage, so Prefect files the lines under the stage's task run.
    """
    if event.line is not None:
        _logger.info("%s", event.line)
    else:
        level = logging.WARNING if event.state == "again" else logging.INFO
        said = f"{event.state} {event.note}" if event.state == "running" else f"{event.state} ({event.seconds:.1f} s)"
        _logger.log(level, "%s: %s", event.stage, event.note if event.state == "again" else said)
    for listener in _listeners:
        listener(event)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Tell of a step that is no stage of DVC's (`version data`, `register`): running, then done or failed."""
    begin = time.monotonic()
    tell(Event(name, "running"))
    try:
        yield
    except BaseException:
        tell(Event(name, "failed", time.monotonic() - begin))
        raise
    tell(Event(name, "done", time.monotonic() - begin))
