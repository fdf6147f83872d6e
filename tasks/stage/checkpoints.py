"""Where a stage keeps what it needs to go on after it was killed: next to DVC's outputs, which DVC removes before a
run.

A folder for each stage key: another parameter, another input or edited code begins again, and so does a training whose
batches are divided into more parts. Whoever runs the stage names
the key (`GRAFT_STAGE_KEY`); run by hand or by `dvc repro` a stage keeps nothing.
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
"""Between two checkpoints, unless the environment says otherwise: what a kill costs at most."""


class StageCheckpoints:
    """The checkpoints of one stage, which trains one network after another, always in the same order.

    Args:
        key: of the stage; none: nothing is kept.
        several: whether there is more than one training. What has ended is then kept too, not to be done again.
    """

    def __init__(self, key: str | None, *, several: bool = False) -> None:
        self._folder = FOLDER / key if key else None
        self._several = several
        self._number = 0

    @classmethod
    def of_this_stage(cls, *, several: bool = False) -> "StageCheckpoints":
        """Those of the stage that this process runs."""
        return cls(os.environ.get(KEY_VARIABLE), several=several)

    def next_training(self) -> Checkpoints:
        """Those of the training that comes next."""
        self._number += 1
        if self._folder is None:
            return NEVER
        seconds = float(os.environ.get(SECONDS_VARIABLE, SECONDS))
        name = f"{self._number}.pt" if batch_parts() == 1 else f"{self._number}-in-{batch_parts()}-parts.pt"
        return CheckpointFile(self._folder / name, seconds, keep_last=self._several)


class CheckpointFile:
    """The last state of one training, replaced in one step.

    Args:
        path: the file.
        seconds: at least so many lie between two states.
        keep_last: whether the state after the last step is kept in any case.
    """

    def __init__(self, path: Path, seconds: float, *, keep_last: bool = False) -> None:
        self._path, self._seconds, self._keep_last = path, seconds, keep_last
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The last state; None, and a word about it, if the file is damaged."""
        if not self._path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a torn file makes torch raise: then the training begins again
            print(f"{self._path} cannot be read, so the training begins again: {error}", flush=True)
            return None
        print(f"going on after step {state['step']}, from {self._path}", flush=True)
        return state

    def due(self, step: int, steps: int) -> bool:
        """Every so many seconds, and after the last step if that is wanted."""
        if step == steps:
            return self._keep_last
        return time.monotonic() - self._saved >= self._seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write beside, bring it to the disk, rename."""
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
