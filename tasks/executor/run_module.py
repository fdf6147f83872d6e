"""Run one of our modules as `python -m` does, in a warm child if there is one, and pass on what it says."""

import os
import sys
from pathlib import Path

from tasks.common.errors import PASSING_FAULT, PERMANENT_FAULT, GraftError
from tasks.executor.processes.runner import Command, shared_runner


def run_module(module: str, root: Path) -> None:
    """Run `python -m module` in `root`.

    Raises:
        GraftError: it ended with another exit code than 0; with what it printed.
    """
    lines: list[str] = []
    runner = shared_runner()
    line = f"python -m {module}" if runner.is_warm else ""  # to warm one up costs more than one module saves by it
    command = Command(line, (sys.executable, "-m", module), root, dict(os.environ))
    code = runner.start(command, lines.append).wait()
    if code:
        message = "\n".join(lines).removeprefix("error: ")
        error = GraftError(message or f"{module} ended with exit code {code}")
        error.ends_with = PERMANENT_FAULT if code == PERMANENT_FAULT else PASSING_FAULT
        raise error
