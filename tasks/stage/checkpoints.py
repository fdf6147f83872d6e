"""Checkpoints from which a killed stage resumes, kept outside DVC's outputs, since DVC removes those before a run.

One folder per stage key: with another parameter, another input or edited code a stage starts from scratch, and so does
a training whose batches are divided into more parts. The executor passes the key in `GRAFT_STAGE_KEY`; run by hand or
by `dvc repro`, a stage keeps no checkpoints.
"""

import os
import time
from pathlib import Path
from typing import Any

import torch

from graft.training.checkpoint import NEVER, Checkpoints
from tasks.stage.checkpoint_folders import FOLDER
from tasks.stage.key import KEY_VARIABLE
from tasks.stage.process import batch_parts

SECONDS_VARIABLE = "GRAFT_CHECKPOINT_SECONDS"
SECONDS = 30.0
"""Default seconds between two checkpoints: the most that a kill costs."""


class StageCheckpoints:
    """The checkpoints of one stage, which trains one network after another, always in the same order.

    Args:
        key: of the stage; None: no checkpoints.
        several: whether there is more than one training; finished ones are then kept too, so that they are not
            repeated.
    """

    def __init__(self, key: str | None, *, several: bool = False) -> None:
        self._folder = FOLDER / key if key else None
        self._several = several
        self._number = 0

    @classmethod
    def of_this_stage(cls, *, several: bool = False) -> "StageCheckpoints":
        """The checkpoints of the stage that this process runs."""
        return cls(os.environ.get(KEY_VARIABLE), several=several)

    def next_training(self) -> Checkpoints:
        """The checkpoints of the next training."""
        self._number += 1
        if self._folder is None:
            return NEVER
        seconds = float(os.environ.get(SECONDS_VARIABLE, SECONDS))
        name = f"{self._number}.pt" if batch_parts() == 1 else f"{self._number}-in-{batch_parts()}-parts.pt"
        return CheckpointFile(self._folder / name, seconds, keep_last=self._several)


class CheckpointFile:
    """The latest state of one training, replaced atomically.

    Args:
        path: the file.
        seconds: minimum time between two states.
        keep_last: whether the state after the last step is always saved.
    """

    def __init__(self, path: Path, seconds: float, *, keep_last: bool = False) -> None:
        self._path, self._seconds, self._keep_last = path, seconds, keep_last
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The latest state; None if there is none, or, with a printed message, if the file is damaged."""
        if not self._path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch can raise anything for a damaged file
            print(f"{self._path} cannot be read, so the training starts from scratch: {error}", flush=True)
            return None
        print(f"resuming after step {state['step']}, from {self._path}", flush=True)
        return state

    def due(self, step: int, steps: int) -> bool:
        """Whether to save now: `seconds` after the last save, and after the last step with `keep_last`."""
        if step == steps:
            return self._keep_last
        return time.monotonic() - self._saved >= self._seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write a temporary file, flush it to the disk, then rename it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        try:
            with beside.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        finally:
            beside.unlink(missing_ok=True)
        self._saved = time.monotonic()
