"""What a stage asks for in its `meta:`, which DVC keeps and never reads: a change of it reruns nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.common.errors import GraftError


@dataclass(frozen=True)
class Needs:
    """What a stage needs while it runs, and what is done when it fails.

    Attributes:
        threads: `meta: {threads: N}`: of how many CPU cores it makes use, else one.
        device: `meta: {device: 0.25}`: its share of one GPU, where there are any; `cpu`: none (0); else a whole one.
        retries: `meta: {retries: N}`: how often it is run again after a problem of any kind but a permanent one; if
            that is left out (None), only after what is known to pass.
    """

    threads: int = 1
    device: float = 1.0
    retries: int | None = None


def read_needs(meta: Mapping[str, Any], name: str) -> Needs:
    """The needs of the stage `name`.

    Raises:
        GraftError: values that are none; all of them.
    """
    threads, device, retries = meta.get("threads", 1), meta.get("device", 1.0), meta.get("retries")
    wrong = []
    if not _is_whole(threads) or threads < 1:
        wrong.append(f"threads: {threads!r} is not a whole number of at least 1")
    if device != "cpu" and not (isinstance(device, int | float) and not isinstance(device, bool) and 0 < device <= 1):
        wrong.append(f"device: {device!r} is neither `cpu` nor a share of a GPU, above 0 and up to 1")
    if retries is not None and not (_is_whole(retries) and retries >= 0):
        wrong.append(f"retries: {retries!r} is not a whole number")
    if wrong:
        raise GraftError([f"dvc.yaml, stage {name}, meta.{problem}" for problem in wrong])
    return Needs(threads, 0.0 if device == "cpu" else float(device), retries)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
