"""The git commit that a result was made with."""

import subprocess
from pathlib import Path

from tasks.common.places import LOCK, REPORTS

OWN_OUTPUTS = (f":!{LOCK}", f":!{REPORTS}")
"""Files that a run itself changes, which say nothing about the code that ran."""


def git_tags(root: Path) -> dict[str, str]:
    """Tags with the project's commit and whether files differed from it; none if there is no commit or no git."""
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if not commit:
        return {}
    changed = _git(root, "status", "--porcelain", "--", ".", *OWN_OUTPUTS)
    return {
        "git.commit": commit,
        "git.dirty": "false" if changed == "" else "true",
        "mlflow.source.git.commit": commit,  # where MLflow's own page looks for it
    }


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
