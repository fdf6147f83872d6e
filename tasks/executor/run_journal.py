"""How a stage was run, by its key: what its outputs, the same wherever they were made, must not say."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.common.errors import GraftError
from tasks.common.files import write_json
from tasks.executor.machine_folder import state_folder

FOLDER = "graft-ran"
_FORGOTTEN = 365 * 24 * 3600.0


@dataclass(frozen=True)
class Ran:
    """The run of a stage whose result is recorded.

    Attributes:
        device: `cpu` or `cuda:0`.
        threads: of the CPU.
        attempts: 1 if it went well at once.
        batch_parts: into which each batch was divided, because memory was short.
    """

    device: str = "cpu"
    threads: int = 1
    attempts: int = 1
    batch_parts: int = 1


def note(root: Path, key: str, ran: Ran) -> None:
    """Remember how the stage with that key was run last."""
    write_json(state_folder(root) / FOLDER / f"{key}.json", asdict(ran))


def read(root: Path, key: str) -> Ran | None:
    """How the stage with that key was run last; None if it was not run here, or not by Graft."""
    try:
        return Ran(**json.loads((state_folder(root) / FOLDER / f"{key}.json").read_text(encoding="utf-8")))
    except (GraftError, OSError, ValueError, TypeError):
        return None


def prune(root: Path) -> None:
    """Forget what is older than a year: whoever records results has seen it by then."""
    for path in (state_folder(root) / FOLDER).glob("*.json"):
        if time.time() - path.stat().st_mtime > _FORGOTTEN:
            path.unlink(missing_ok=True)
