"""Where an imported `data/` comes from, and what that holds now.

It is asked every minute, so for no more than a commit, or for what DVC knows files at an address by (ETag, size,
version). DVC is asked in a process of its own, `python -m tasks.data_versions.import_origin`: whoever asks all day
stays small."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tasks.common.errors import AwayError, GraftError
from tasks.common.parent_death import end_with_parent
from tasks.common.places import POINTER
from tasks.common.urls import without_password
from tasks.common.yaml_files import load_yaml
from tasks.data_versions.dvc_data import origin_now

PATIENCE = 300.0
"""Seconds that an answer may take."""


def local_origin(root: Path) -> Path | None:
    """The file or folder of this machine that data/ is imported from, if it is one that can be looked at as it lies."""
    path = _entry(root).get("path")
    if "repo" in _entry(root) or not isinstance(path, str) or not (root / path).exists():
        return None
    return root / path


def remote_state(root: Path) -> str:
    """What the repository or address that data/ is imported from holds now; empty if it is imported from neither.

    Raises:
        AwayError: it cannot be asked now.
    """
    entry = _entry(root)
    if isinstance(repo := entry.get("repo"), dict):
        url = str(repo.get("url"))
        return _answer(root, url, "git", "ls-remote", "--", url, str(repo.get("rev", "HEAD")))
    if isinstance(path := entry.get("path"), str) and "://" in path and not (root / path).exists():
        return _answer(root, path, sys.executable, "-m", "tasks.data_versions.import_origin")
    return ""


def _answer(root: Path, asked: str, *command: str) -> str:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
            preexec_fn=end_with_parent,
        )
    except subprocess.TimeoutExpired:
        said = f"no answer in {PATIENCE:.0f} s"
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split()) or f"exit code {error.returncode}"
    except OSError as error:
        said = str(error)
    else:
        return done.stdout
    shown = without_password(asked)
    raise AwayError(f"data's origin {shown} cannot be asked: {said.replace(asked, shown)}")


def _entry(root: Path) -> dict[str, Any]:
    """What data.dvc says of the origin; empty if it names none."""
    try:
        deps = load_yaml(root / POINTER).get("deps")
    except GraftError:
        return {}
    return deps[0] if isinstance(deps, list) and deps and isinstance(deps[0], dict) else {}


if __name__ == "__main__":
    try:
        print(json.dumps(origin_now(Path()), sort_keys=True))
    except GraftError as error:
        sys.exit(str(error))
