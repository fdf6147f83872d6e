"""That `data/` is being filled by Graft: a note for whoever comes after, should it be killed meanwhile.

DVC fills `data/` in place. Half of it would look like data from which files were removed, and be versioned as such.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.common.files import write_text
from tasks.common.places import POINTER, RAW_DATA, STATE

NOTE = STATE / "data.filling"
"""Holds data.dvc as it was before."""
HALF = STATE / "data.half"
"""Where a half-filled data/ is put, until the next one: someone may have laid something of theirs into it."""


@contextmanager
def filling(root: Path) -> Iterator[None]:
    """Note that data/, and maybe data.dvc, are being changed; if that fails, both are taken back to what was before.

    What was before is what data.dvc said; data/ itself is then not there, and has to be fetched.
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
    """Undo what a process that was ended had begun; whether there was anything."""
    note = root / NOTE
    if not note.exists():
        return False
    write_text(root / POINTER, note.read_text(encoding="utf-8"))
    if (root / RAW_DATA).exists():
        shutil.rmtree(root / HALF, ignore_errors=True)
        (root / RAW_DATA).rename(root / HALF)
    note.unlink()
    return True
