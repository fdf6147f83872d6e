"""The error type for problems that the user can fix, and the exit codes."""

import errno
import os
from collections.abc import Iterable

PASSING_FAULT = 1
"""Exit code of a command if running it again may help."""
PERMANENT_FAULT = 2
"""Exit code for bad data or bad parameters: running again cannot help."""

TEMPORARY_FAULT = 75
"""Exit code of a stage whose problem may resolve by itself: a broken connection (EX_TEMPFAIL of sysexits.h)."""
OUT_OF_MEMORY = 71
"""Exit code of a stage that ran out of memory, of the machine or of the GPU (EX_OSERR of sysexits.h)."""

OF_THE_DISK = {
    errno.ENOSPC: "The disk is full: free some space (`dvc gc --workspace` removes unused versions), then run again.",
    errno.EDQUOT: "The disk quota is used up: free some space, then run again.",
    errno.EACCES: "Give this user permission to write there, then run again.",
    errno.EPERM: "Give this user permission to write there, then run again.",
    errno.EROFS: "That file system is read-only: mount it writable, or work elsewhere.",
}
"""What to do when a file cannot be read or written, by error number."""


def of_the_disk(error: BaseException) -> str:
    """What to do when a file could not be read or written; empty for any other problem."""
    words = (os.strerror(errno.ENOSPC), "disk is full")  # the messages of safetensors, torch and SQLite have no errno
    number = errno.ENOSPC if any(each in str(error) for each in words) else getattr(error, "errno", None)
    return OF_THE_DISK.get(number or 0, "")


def in_words(error: BaseException) -> str:
    """The error's message, with what to do about it where that is known."""
    said, way_out = str(error), of_the_disk(error)
    return said if way_out in said else f"{said}\n{way_out}"


class GraftError(Exception):
    """A problem that the user can fix; shown without a traceback.

    Args:
        problems: what was wrong, one sentence each: the value, the file and key, the valid choices. All that were
            found, not only the first.
        hint: what to do next, ideally a command.
    """

    ends_with: int = PERMANENT_FAULT
    """Exit code of the command that raised it."""

    def __init__(self, problems: str | Iterable[str], hint: str = "") -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.hint = hint
        super().__init__(self.problems, hint)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            text = self.problems[0]
        else:
            text = "\n".join([f"{len(self.problems)} problems:", *(f"  - {problem}" for problem in self.problems)])
        return f"{text}\n{self.hint}" if self.hint else text


class AwayError(GraftError):
    """A server, a remote or another origin does not answer; it may later."""

    ends_with = PASSING_FAULT
