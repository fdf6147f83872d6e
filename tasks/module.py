"""Run one of our modules as `python -m` does, in a warm child, and pass on what it says."""

import os
from pathlib import Path

from tasks.errors import GraftError
from tasks.executor import warm


def run_module(module: str, root: Path) -> None:
    """Run `python -m module` in `root`.

    Raises:
        GraftError: it ended with another exit code than 0; with what it printed.
    """
    lines: list[str] = []
    command = warm.Command(f"python -m {module}", ("python", "-m", module), root, dict(os.environ))
    code = warm.shared_runner().start(command, lines.append).wait()
    if code:
        message = "\n".join(lines).removeprefix("error: ")
        raise GraftError(message or f"{module} ended with exit code {code}")
