"""What every stage's process does first and last: a fixed random state, one thread, readable errors."""

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError

from tasks.common.errors import (
    OUT_OF_MEMORY,
    PERMANENT_FAULT,
    TEMPORARY_FAULT,
    AwayError,
    GraftError,
    in_words,
    of_the_disk,
)
from tasks.stage.code import require_current

PARTS_VARIABLE = "GRAFT_BATCH_PARTS"
"""Environment variable of a stage that ran out of memory before: the number of parts to divide its batches into."""


def run_stage(work: Callable[[], None], *, seed: int = 0) -> None:
    """Seed, run `work`, and end the process with a message for people and an exit code for the executor.

    A process forked from a warm one inherits its random states, so all three generators are seeded here, before
    anything draws from them. An error is printed, and the exit code says whether running again can help.
    """
    try:
        require_current(Path())
        make_deterministic(seed)
        work()
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        print(f"error: {in_words(error)}", file=sys.stderr)
        sys.exit(code)


def batch_parts() -> int:
    """The number of parts that this process must divide its batches into."""
    return int(os.environ.get(PARTS_VARIABLE, 1))


def _exit_code(error: Exception) -> int | None:
    """The exit code for a known kind of problem; None for a bug, whose traceback must be shown."""
    if isinstance(error, AwayError):
        return TEMPORARY_FAULT
    if isinstance(error, GraftError):
        return error.ends_with
    if is_short_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, ConnectionError | TimeoutError | URLError) and not isinstance(error, HTTPError):
        return TEMPORARY_FAULT
    return PERMANENT_FAULT if of_the_disk(error) else None


def is_short_of_memory(error: Exception) -> bool:
    """Whether the machine or the GPU ran out of memory; for the machine, torch says so in its message only."""
    words = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and ("can't allocate memory" in words or "out of memory" in words))
    )


def make_deterministic(seed: int) -> None:
    """Seed random, NumPy and torch; select deterministic kernels and one thread."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Never from the environment: sums over several threads round differently. Stages that may use more set it.
    torch.set_num_threads(1)
