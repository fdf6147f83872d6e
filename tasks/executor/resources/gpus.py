"""The GPUs that stages may be given. Nothing here loads CUDA: a driver that was started does not survive a fork."""

import os
import re
import subprocess
from dataclasses import dataclass

from tasks.common.errors import GraftError

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Device:
    """One GPU.

    Attributes:
        name: for people: `cuda:0`, by the driver's number of it.
        uuid: by which CUDA is told of it, whatever else is visible.
    """

    name: str
    uuid: str


@dataclass(frozen=True)
class Devices:
    """What a run may use.

    Attributes:
        gpus: handed out to stages, one each.
        hide: whether a stage that is given none shall see none: not where nobody asked and none was found.
    """

    gpus: tuple[Device, ...] = ()
    hide: bool = False


def find_devices(asked: str = "auto") -> Devices:
    """The devices that `asked` names: `auto` (the GPUs there are, else the CPU), `cpu`, `cuda`, or `cuda:0,1`.

    Raises:
        GraftError: it names what this machine does not have, or what is no device.
    """
    wanted = asked.strip()
    if wanted == "cpu":
        return Devices(hide=True)
    present = _visible(_installed())
    if wanted == "auto":
        return Devices(present, hide=bool(present))
    if not re.fullmatch(r"cuda(:\d+(,(cuda:)?\d+)*)?", wanted):
        raise GraftError(f"--devices: {asked!r} is no device; valid: auto, cpu, cuda, or cuda:0,1")
    there = {gpu.name: gpu for gpu in present}
    names = [f"cuda:{number}" for number in dict.fromkeys(re.findall(r"\d+", wanted))] or list(there)
    missing = [name for name in names if name not in there]
    if missing or not names:
        said = f"here are {', '.join(there)}" if there else "no GPU was found here (nvidia-smi lists none)"
        raise GraftError(f"--devices: there is no {', '.join(missing) or 'GPU'}: {said}", "`--devices cpu` needs none.")
    return Devices(tuple(there[name] for name in names), hide=True)


def _installed() -> tuple[Device, ...]:
    """The GPUs that the driver knows; none if there is no driver."""
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    pairs = [line.split(",") for line in listed.splitlines() if "," in line]
    return tuple(Device(f"cuda:{index.strip()}", uuid.strip()) for index, uuid in pairs)


def _visible(gpus: tuple[Device, ...]) -> tuple[Device, ...]:
    """Those that the user's own CUDA_VISIBLE_DEVICES leaves, by number or UUID; parts of one (MIG) it names itself."""
    if VISIBLE not in os.environ:
        return gpus
    known = {gpu.name.removeprefix("cuda:"): gpu for gpu in gpus} | {gpu.uuid: gpu for gpu in gpus}
    entries = [entry.strip() for entry in os.environ[VISIBLE].split(",") if entry.strip()]
    return tuple(
        known.get(entry) or Device(f"cuda:{entry}", entry)
        for entry in entries
        if entry in known or entry.startswith("MIG-")
    )
