"""How often Graft reads a file. What DVC reads itself does not count: it opens files in its own way."""

import os
from pathlib import Path

import pytest


def counted_reads(monkeypatch: pytest.MonkeyPatch, file: Path) -> list[Path]:
    """The list of reads of a file from now on; the file is made to look as if it had been written a while ago."""
    reads: list[Path] = []
    os.utime(file, (1_000_000_000, 1_000_000_000))

    def counting(read):
        def counted(path: Path, *args, **kwargs):
            if path.resolve() == file.resolve():
                reads.append(path)
            return read(path, *args, **kwargs)

        return counted

    for name in ("read_text", "read_bytes"):
        monkeypatch.setattr(Path, name, counting(getattr(Path, name)))
    return reads
