"""The file in which DVC's processes note what they read and write, `.dvc/tmp/rwlock`.

DVC rewrites it in place, so that a process that is killed meanwhile leaves half of it, on which every DVC command fails
from then on. Half a file claims nothing: those who claim still live, and wait for the guard with their next entry.
"""

import json
import logging
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import make_lock
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

logger = logging.getLogger("graft.dvc")


def mend_claims(repo: Any) -> None:
    """Remove the file if it was left half-written."""
    file = Path(repo.tmp_dir, RWLOCK_FILE) if repo.tmp_dir else None
    if file is None or _is_whole(file):
        return
    hardlink = repo.config["core"].get("hardlink_lock", False)
    with make_lock(str(file.with_name(RWLOCK_LOCK)), tmp_dir=repo.tmp_dir, hardlink_lock=hardlink):
        if not _is_whole(file):  # nobody writes it now
            logger.warning("%s was left half-written by a process that was killed; it is removed", file)
            file.unlink()


def writers(repo: Any) -> dict[str, str]:
    """Who writes what now: the files and folders that processes which live have claimed for that."""
    try:
        claims = json.loads(Path(repo.tmp_dir, RWLOCK_FILE).read_text(encoding="utf-8")).get("write", {})
    except FileNotFoundError:
        return {}
    return {
        path: f"process {claim['pid']}: {claim['cmd']}"
        for path, claim in claims.items()
        if psutil.pid_exists(claim["pid"])
    }


def _is_whole(file: Path) -> bool:
    try:
        return isinstance(json.loads(file.read_text(encoding="utf-8")), dict)
    except FileNotFoundError:
        return True
    except ValueError:
        return False
