"""Leases of GPUs, kept by the system: a lock on bytes of a file, freed when the last process that holds it has ended.

The stage's own process holds its lease too, and all that it starts. So a device is free when nothing computes on it any
more, however that came to an end, and not before; and all runs on this machine, of whichever project, see each other.
"""

import contextlib
import fcntl
import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tasks.executor.resources.gpus import Device

FOLDER = Path("/dev/shm/graft-devices")  # noqa: S108  (each user of this machine is meant to find it)
"""Where Linux keeps files in memory until it ends. Temporary folders will not do: they are told apart by user and
service, and what lies there for long is cleared away, while the lease on it still stands."""
PARTS = 100
"""Bytes of the file, each a hundredth of the device."""
_LOCK = struct.Struct("hhqqi")
"""struct flock: kind, whence, start, length, process (0, as open file description locks ask for)."""


@dataclass(frozen=True)
class Lease:
    """A device, or a share of it, until the descriptor is closed here and in every process that was given it."""

    device: Device
    share: float
    descriptor: int

    def end(self) -> None:
        """Give it back, as far as this process is concerned."""
        os.close(self.descriptor)


def lease(gpus: Iterable[Device], share: float, folder: Path | None = None) -> Lease | None:
    """The first of these devices of which so much is free, leased; None if there is none.

    Args:
        gpus: in the order in which they are tried.
        share: above 0 and up to 1.
        folder: of the files, the same for all runs that share the devices; by default one for this machine.
    """
    folder = folder or FOLDER
    length = max(1, round(share * PARTS))
    for gpu in gpus:
        descriptor = _open(folder, gpu)
        for start in range(PARTS - length + 1):
            if _locked(descriptor, start, length):
                return Lease(gpu, share, descriptor)
        os.close(descriptor)
    return None


def _open(folder: Path, gpu: Device) -> int:
    """The device's file, which any user of this machine may lock."""
    path = folder / re.sub(r"[^\w-]", "_", gpu.uuid)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        with contextlib.suppress(PermissionError):  # another user has made it at the same moment
            os.fchmod(descriptor, 0o666)
        return descriptor


def _locked(descriptor: int, start: int, length: int) -> bool:
    """Whether these bytes could be locked, all at once. Linux only, as CUDA is but for Windows."""
    request = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)
    except (BlockingIOError, PermissionError):
        return False
    return True
