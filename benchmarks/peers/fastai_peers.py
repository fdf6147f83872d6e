"""fastai's own recipe on our network, in an environment of its own: the two talk by files."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.peers.cell import Answer, Cell, Peer
from benchmarks.peers.ours import section
from tasks.settings.finetune import FinetuneSettings

FAMILY = "fastai"
ROOT = Path(__file__).resolve().parents[2]
INSIDE = Path(__file__).with_name("inside_fastai.py")
TIMES = {"fastai, 1 x steps": 1, "fastai, 3 x steps": 3}
"""Optimiser steps, as a multiple of Graft's."""


def peers(environment: Path | None) -> list[Peer]:
    """`vision_learner.fine_tune` for as long as Graft trains, and three times as long."""
    return [Peer(name, FAMILY, ("photos",), _recipe(environment, times)) for name, times in TIMES.items()]


def python_with_fastai(environment: Path | None) -> Path:
    """The Python of an environment that has fastai, which is made if it is not there.

    Raises:
        SystemExit: no folder is given, or the environment cannot be made.
    """
    if environment is None:
        sys.exit("fastai runs in an environment of its own: name its folder with --peers-env")
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        uv = [sys.executable, "-m", "uv"]
        install = [*uv, "pip", "install", "--quiet", "--system-certs", "--python", str(python), "fastai"]
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
        # torch for CPUs is a tenth of the size, but not every mirror has it
        if subprocess.run([*install, "--torch-backend", "cpu"], check=False, capture_output=True).returncode:
            subprocess.run(install, check=True)
    return python


def _recipe(environment: Path | None, times: int) -> Callable[[Cell], Answer]:
    def solve(cell: Cell) -> Answer:
        python = python_with_fastai(environment)
        training = section(cell.case.project, "finetune", FinetuneSettings).training
        with tempfile.TemporaryDirectory() as folder:
            asked, found = Path(folder, "asked.npz"), Path(folder, "found.npz")
            body = {f"weights/{name}": value.numpy() for name, value in cell.case.weights.backbone.state_dict().items()}
            np.savez(
                asked,
                images=cell.paid.images[:].numpy(),
                labels=cell.known,
                classes=len(cell.paid.classes),
                test=cell.case.problem.test.images[:].numpy(),
                steps=times * training.steps,
                batch_size=training.batch_size,
                seed=cell.seed,
                **body,
            )
            done = subprocess.run(
                [str(python), "-P", str(INSIDE), str(asked), str(found)],
                check=False, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "HOME": folder},
            )  # fmt: skip
            if done.returncode:
                sys.exit(f"fastai failed:\n{done.stdout}\n{done.stderr}")
            with np.load(found) as file:
                return Answer(file["said"], seconds=float(file["seconds"]))

    return solve
