"""The folders of checkpoints, and when they are removed. No torch here."""

import shutil
import time
from pathlib import Path

from tasks.common.places import LOCK, STATE
from tasks.stage.key import stage_keys

FOLDER = STATE / "checkpoints"
_FORGOTTEN = 30 * 24 * 3600.0
"""Seconds after which an unfinished training is considered abandoned."""


def prune(root: Path) -> None:
    """Remove the checkpoints of stages whose results are in `dvc.lock`, and abandoned ones."""
    folder = root / FOLDER
    if not folder.is_dir():
        return
    ended = set(stage_keys(root / LOCK).values())
    for path in sorted(folder.iterdir()):
        if path.name in ended or time.time() - path.stat().st_mtime > _FORGOTTEN:
            shutil.rmtree(path, ignore_errors=True)
