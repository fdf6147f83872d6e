"""What every stage's process does first and last: the same random state, the same threads, errors for people."""

import os
import random
import sys
from collections.abc import Callable

from tasks.errors import PERMANENT_FAULT, GraftError


def run_stage(work: Callable[[], None], *, seed: int = 0) -> None:
    """Seed, run `work`, and end the process with what a person and the executor need to know.

    A process that was forked from a warm one inherits its random states, so all three generators are seeded here,
    before anything draws from them. Bad data or parameters end with exit code 2: running again cannot help.
    """
    try:
        make_deterministic(seed)
        work()
    except GraftError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(PERMANENT_FAULT)


def make_deterministic(seed: int) -> None:
    """Seed random, NumPy and torch; ask for deterministic kernels, and for one thread."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Never from the environment: sums over several threads round differently. Stages that may use more say so.
    torch.set_num_threads(1)
