"""Read a file once as long as it stays as it is."""

import time
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SETTLED_NS = 2_000_000_000
"""A file that changed a moment ago may change again within one tick of its time stamp: it is read each time."""
_FILES = 32


def read_once(read: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """`read(path, …)`, called again only where the file has changed.

    All callers share what it returned: they must not change it.
    """

    @lru_cache(maxsize=_FILES)
    def remembered(path: Path, _version: tuple[int, ...], *args: P.args, **kwargs: P.kwargs) -> T:
        return read(path, *args, **kwargs)

    @wraps(read)
    def current(path: Path, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            file = path.stat()
        except OSError:
            return read(path, *args, **kwargs)  # which reports what is wrong
        if time.time_ns() - file.st_mtime_ns < SETTLED_NS:
            return read(path, *args, **kwargs)
        version = (file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns)
        return remembered(path, version, *args, **kwargs)  # type: ignore[arg-type]  # they have to be hashable

    return current
