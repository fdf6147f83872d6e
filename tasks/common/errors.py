"""The one error that a person is meant to read."""

import errno
import os
from collections.abc import Iterable

PASSING_FAULT = 1
"""Exit code where running again may help."""
PERMANENT_FAULT = 2
"""Exit code of a stage that met bad data or bad parameters: running it again cannot help."""

TEMPORARY_FAULT = 75
"""Exit code of a stage whose problem may pass by itself: a connection that broke (EX_TEMPFAIL of sysexits.h)."""
OUT_OF_MEMORY = 71
"""Exit code of a stage that ran out of memory, of the machine or of the GPU (EX_OSERR of sysexits.h)."""

OF_THE_DISK = {
    errno.ENOSPC: "The disk is full: make room (`dvc gc --workspace` drops what no file names), then run again.",
    errno.EDQUOT: "Your share of the disk is used up: make room, then run again.",
    errno.EACCES: "Give this user the right to write there, then run again.",
    errno.EPERM: "Give this user the right to write there, then run again.",
    errno.EROFS: "That file system is read-only: mount it writable, or work elsewhere.",
}
"""What to do about a file that cannot be read or written."""


def of_the_disk(error: BaseException) -> str:
    """What to do about a file that could not be read or written; empty for any other problem."""
    words = (os.strerror(errno.ENOSPC), "disk is full")  # all that safetensors and torch say, and SQLite
    number = errno.ENOSPC if any(each in str(error) for each in words) else getattr(error, "errno", None)
    return OF_THE_DISK.get(number or 0, "")


def in_words(error: BaseException) -> str:
    """What is wrong, and what to do about it where that is known."""
    said, way_out = str(error), of_the_disk(error)
    return said if way_out in said else f"{said}\n{way_out}"


class GraftError(Exception):
    """Something that the user can put right; shown without a traceback.

    Args:
        problems: what was wrong, one sentence each: the value, the file and key, the valid choices. All that were
            found, not the first alone.
        hint: what to do next, ideally a command.
    """

    ends_with: int = PERMANENT_FAULT
    """Exit code of the command that met it."""

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
    """A server, a remote or another origin that does not answer now; later it may."""

    ends_with = PASSING_FAULT
