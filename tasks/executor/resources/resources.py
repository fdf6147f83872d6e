"""What the stages of one run share: cores and GPUs. Used by one thread, that of the schedule."""

from dataclasses import dataclass, field
from pathlib import Path

from tasks.executor.resources.gpu_leases import Lease, lease
from tasks.executor.resources.gpus import VISIBLE, Devices
from tasks.executor.resources.stage_meta import Needs

DEVICE_VARIABLE = "GRAFT_DEVICE"
"""In the environment of a stage: the name of the device that it was given."""
CPU = "cpu"


@dataclass
class Held:
    """What one stage has while it runs.

    Attributes:
        threads: cores, of the run's.
        device: the name of what it computes on.
        environment: what its process must know of that.
        descriptors: what its process must keep open.
    """

    threads: int
    device: str = CPU
    environment: dict[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    lease: Lease | None = None


class Resources:
    """The cores and GPUs of a run.

    Args:
        threads: how many threads all stages may use together.
        devices: the GPUs.
        folder: of the files by which GPUs are leased.
    """

    def __init__(self, threads: int, devices: Devices, folder: Path | None = None) -> None:
        self._devices, self._folder = devices, folder
        self._threads = self._free = threads
        self._load = dict.fromkeys(devices.gpus, 0.0)

    def has_threads(self, needs: Needs) -> bool:
        """Whether so many are free; a stage that asks for more than there are gets all."""
        return self._free >= min(needs.threads, self._threads)

    def wants_gpu(self, needs: Needs) -> bool:
        """Whether a GPU must be free for it."""
        return bool(needs.device and self._devices.gpus)

    def take(self, needs: Needs) -> Held | None:
        """What the stage needs, until it is given back; None if that is not free now."""
        if not self.has_threads(needs):
            return None
        held = Held(min(needs.threads, self._threads))
        if self.wants_gpu(needs):
            held.lease = lease(sorted(self._load, key=self._load.__getitem__), needs.device, self._folder)
            if held.lease is None:
                return None
            held.device, held.descriptors = held.lease.device.name, (held.lease.descriptor,)
            held.environment[VISIBLE] = held.lease.device.uuid
            self._load[held.lease.device] += held.lease.share
        elif self._devices.hide:
            held.environment[VISIBLE] = ""
        held.environment[DEVICE_VARIABLE] = held.device
        self._free -= held.threads
        return held

    def give_back(self, held: Held) -> None:
        """The stage has ended. Its device is free when no process of it is left."""
        self._free += held.threads
        if held.lease:
            self._load[held.lease.device] -= held.lease.share
            held.lease.end()
