"""The origin of an imported `data/`, and its current state.

It is asked every minute, so only for a commit, or for what DVC identifies files at an address by (ETag, size, version).
DVC is asked in a separate process, `python -m tasks.data_versions.import_origin`, so that a long-lived caller stays
small.
"""

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
"""Seconds to wait for an answer."""


def local_origin(root: Path) -> Path | None:
    """The local file or folder that data/ is imported from; None if it is imported from elsewhere or not at all."""
    path = _entry(root).get("path")
    if "repo" in _entry(root) or not isinstance(path, str) or not (root / path).exists():
        return None
    return root / path


def remote_state(root: Path) -> str:
    """The current state of the repository or address that data/ is imported from; empty if it is neither.

    Raises:
        AwayError: it does not answer.
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
    raise AwayError(f"the origin of data/, {shown}, cannot be reached: {said.replace(asked, shown)}")


def _entry(root: Path) -> dict[str, Any]:
    """The entry of the origin in data.dvc; empty if there is none."""
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
