"""Which problems of a stage may pass, and when it is run again.

A stage says by its exit code what it knows (`tasks.common.errors`): bad data and bad parameters stay bad, a
connection may be there again in a moment, and what does not fit into the memory may fit in smaller parts. Any other
failure is run again only if the stage asks for it: that of a program nobody knows is more often a mistake than bad
luck."""

from dataclasses import dataclass
from typing import Literal

Fault = Literal["permanent", "passing", "memory", "unknown"]

MOST = 2
"""Runs after the first, for a stage that does not say."""
MOST_PARTS = 16
"""Into which a batch is divided where memory is short, in steps of two."""
FIRST_DELAY = 1.0
"""Seconds before the first further run; four times as many before each one after it."""


@dataclass(frozen=True)
class Again:
    """One more run of a stage: after so many seconds, with batches in so many parts."""

    seconds: float
    parts: int


def once_more(fault: Fault, failures: int, parts: int, retries: int | None) -> Again | None:
    """What to do after a failure; None: leave it at that.

    Args:
        problem: its kind.
        failures: how many there have been, this one included.
        parts: into which batches were divided when it happened.
        retries: of the stage's `meta`.
    """
    if fault == "memory":
        return Again(0.0, 2 * parts) if parts < MOST_PARTS and retries != 0 else None
    most = retries if retries is not None else MOST if fault == "passing" else 0
    if fault == "permanent" or failures > most:
        return None
    return Again(FIRST_DELAY * 4 ** (failures - 1), parts)
