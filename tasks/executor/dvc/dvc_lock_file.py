"""Writes `dvc.lock` and `.dvc` files: the bytes that stock would write, in one step."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from dvc.stage import PipelineStage
from dvc.stage.serialize import to_lockfile, to_single_stage_file
from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

from tasks.executor.dvc import lock_text


class DvcFiles:
    """The files of one run, in which it enters each stage that it brings up to date.

    New entries of a `dvc.lock` stand in the plan's order, as `dvc repro` would have appended them, whichever stage is
    ready first. Entries that were there keep their places.

    Args:
        notes: a folder of this machine's, where it is kept which lock files are known to be laid out as by stock: to
            find that out takes seconds where a file is long.
    """

    def __init__(self, notes: Path) -> None:
        self._added: dict[Path, dict[str, int]] = {}  # lock file -> key lines of entries added -> places in the plan
        self._notes = notes / "graft-lock-files"

    def enter(self, stage: Any, place: int) -> Path | None:
        """Write the entry of `stage`, which has this place in the plan; the file, if its content changed."""
        path = Path(stage.path)
        if isinstance(stage, PipelineStage):
            path = path.with_suffix(".lock")
            text = self._with_entry(path, stage, place)
        else:
            text = dumps_yaml(to_single_stage_file(stage))
        if text == _read(path):
            return None
        _replace(path, text)
        return path

    def _with_entry(self, path: Path, stage: Any, place: int) -> str:
        text = _read(path)
        note = self._notes / _hash(os.path.relpath(path, self._notes))
        if text and _read(note) != _hash(text):
            text = dumps_yaml(parse_yaml_for_update(text, path))  # as stock lays it out
        block = dumps_yaml({"stages": to_lockfile(stage)}).split("\n", 1)[1]
        key, added = lock_text.key_line(block), self._added.setdefault(path, {})
        if key not in lock_text.key_lines(text):
            added[key] = place
        later = {other for other, its_place in added.items() if its_place > place}
        text = lock_text.put(text, block, later)
        self._notes.mkdir(exist_ok=True)
        note.write_text(_hash(text), encoding="utf-8")
        return text


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _replace(path: Path, text: str) -> None:
    """Write beside, bring it to the disk, rename: a crash leaves the old file or the new one."""
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
