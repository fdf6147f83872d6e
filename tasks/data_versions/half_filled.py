"""A note on disk that Graft is filling `data/`, so that the next process can recover if this one is killed.

DVC fills `data/` in place. Half-filled, it would look like data with files removed, and be versioned as such.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.common.files import write_text
from tasks.common.places import POINTER, RAW_DATA, STATE

NOTE = STATE / "data.filling"
"""Holds the previous data.dvc."""
HALF = STATE / "data.half"
"""Where a half-filled data/ is kept, until the next one: someone may have put their own files into it."""


@contextmanager
def filling(root: Path) -> Iterator[None]:
    """Note that data/, and maybe data.dvc, are being changed; if that fails, undo both.

    The previous data.dvc is then back; data/ itself is gone, and has to be fetched again.
    """
    if not (root / NOTE).exists():
        (root / NOTE).parent.mkdir(parents=True, exist_ok=True)
        write_text(root / NOTE, (root / POINTER).read_text(encoding="utf-8"))
    try:
        yield
    except BaseException:
        take_back(root)
        raise
    (root / NOTE).unlink()


def take_back(root: Path) -> bool:
    """Undo what a killed process left half-filled; returns whether there was anything to undo."""
    note = root / NOTE
    if not note.exists():
        return False
    write_text(root / POINTER, note.read_text(encoding="utf-8"))
    if (root / RAW_DATA).exists():
        shutil.rmtree(root / HALF, ignore_errors=True)
        (root / RAW_DATA).rename(root / HALF)
    note.unlink()
    return True
