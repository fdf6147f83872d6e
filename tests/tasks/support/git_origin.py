"""A Git repository that others import from."""

import subprocess
from pathlib import Path

AUTHOR = ("-c", "user.name=author", "-c", "user.email=author@example.org")


def commit_all(repository: Path) -> None:
    """Commit all that lies in a folder, which becomes a repository by that."""
    for command in (["init", "-q"], ["add", "--all"], [*AUTHOR, "commit", "-q", "-m", "Work"]):
        subprocess.run(["git", *command], cwd=repository, check=True, capture_output=True)
