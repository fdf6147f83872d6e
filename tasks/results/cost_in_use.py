"""What networks cost in use: parameters, multiply-adds, latency here and now. No stage: times are no output of one."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from graft.measures.cost import multiply_adds, parameters
from graft.networks.device import choose_device
from graft.networks.network import Network
from tasks.artifacts.networks import load_network
from tasks.common.errors import GraftError
from tasks.common.places import METRICS, PARAMS, PRETRAINED, TRIALS
from tasks.results.metrics_file import read_summary
from tasks.trials.plan import Entry, read_plan

BATCHES = (1, 64)
"""Images at once: a service answers single ones, a batch job many."""
_REPEATS = 30


@dataclass(frozen=True)
class InUse:
    """A network's size and speed."""

    name: str
    """The strategy, or `pretrained`."""
    backbone: str
    parameters: int
    multiply_adds: int
    """For one image."""
    milliseconds: tuple[float, ...]
    """Median for each of `BATCHES`."""
    accuracy: float | None
    """Mean test accuracy over seeds, where it was measured; of a pretrained network that has the target's classes."""


def measure(root: Path) -> list[InUse]:
    """The pretrained network, then one network of each strategy at the largest label budget.

    Raises:
        GraftError: there are no trials yet.
    """
    if not (root / METRICS).exists():
        raise GraftError("there is no network to measure yet", "Make one: graft run")
    summary = read_summary(root)
    rows = summary.strategies
    torch.set_num_threads(1)  # more only wait for one another with a single image
    plan = read_plan(root / PARAMS)
    found = [_measure("pretrained", root / PRETRAINED, summary.source.accuracy)]
    for name, labels in plan.compared(plan.budget):
        folder = root / TRIALS / Entry(name, labels, plan.seeds[0]).name
        accuracy = rows[name].accuracy.mean if name in rows else None
        found.append(_measure(name, folder, accuracy))
    return found


def _measure(name: str, folder: Path, accuracy: float | None) -> InUse:
    network = load_network(folder)
    size, operations = parameters(network), multiply_adds(network)
    network.to(choose_device()).to(memory_format=torch.channels_last)
    latencies = tuple(_latency(network, batch) for batch in BATCHES)
    return InUse(name, network.description.backbone, size, operations, latencies, accuracy)


@torch.inference_mode()
def _latency(network: Network, batch: int) -> float:
    """Median milliseconds, the image's way to the device and back included."""
    device, images = next(network.parameters()).device, network.example(batch).cpu()
    took = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        network(images.to(device)).softmax(dim=1).cpu()
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took)
