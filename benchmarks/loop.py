"""Images per second of the training loop, compared with a bare loop, DataLoader + PIL, and images on disk.

    python -m benchmarks.loop [--steps 150] [--rounds 5]

Same network, images, batch size, augmentation and thread count; the loops take turns, so that a machine whose speed
drifts does not favour one. Expected: graft / bare >= 0.9, graft / DataLoader >= 2, and graft / from disk <= 1.2, which
reads images as for a data set that is larger than memory.
"""

import argparse
import copy
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from graft.data.on_disk import OnDisk
from graft.data.split import Domains, Split
from graft.loop import train
from graft.networks.network import Description, Network
from graft.settings import Augmentation, Training
from graft.strategies.scratch import Scratch
from tasks.common.npy import NpyReader

BATCH = 128
SIZE = 16
AUGMENTATION = Augmentation(crop=2, rotate=10, scale=0.1, shear=5)
CLASSES = tuple("0123456789")


def random_digits(n: int = 4096) -> Split:
    """Random images: their content does not affect the cost of a step."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(0, 10, (n,), generator=generator), CLASSES)


def network() -> Network:
    """The demo's network."""
    torch.manual_seed(0)
    return Network(Description("convnet_small", CLASSES, 1, SIZE))


def with_graft(data: Split, steps: int) -> None:
    """Graft's training loop; one validation, on ten images."""
    budget = Training(steps=steps, batch_size=BATCH, augmentation=AUGMENTATION, evaluations=1)
    train(network(), Scratch(), Domains(data, data.take(torch.arange(10))), budget)


def from_disk(data: Split, steps: int) -> None:
    """The same with images in a file, of which at most two batches are in memory."""
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        np.save(Path(folder, "images.npy"), data.images.numpy())
        file = NpyReader(Path(folder, "images.npy"))
        images = OnDisk(lambda rows: torch.from_numpy(file[rows.numpy()]), file.shape)
        with_graft(replace(data, images=images), steps)


def bare(data: Split, steps: int) -> None:
    """A loop written by hand for exactly this case."""
    model = network().to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps + 1)
    images = data.images.contiguous(memory_format=torch.channels_last)
    for _ in range(steps):
        index = torch.randint(0, len(data), (BATCH,))
        x = images[index].float() / 255
        angle = (torch.rand(BATCH) * 2 - 1) * math.radians(10)
        scale = 1 / (1 + (torch.rand(BATCH) * 2 - 1) * 0.1)
        slant = ((torch.rand(BATCH) * 2 - 1) * math.radians(5)).tan()
        shift = (torch.rand(BATCH, 2) * 2 - 1) * 2 * 2 / SIZE
        cos, sin = angle.cos() * scale, angle.sin() * scale
        rows = [
            torch.stack([cos, cos * slant - sin, shift[:, 0]], 1),
            torch.stack([sin, sin * slant + cos, shift[:, 1]], 1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        loss = F.cross_entropy(model(F.grid_sample(x, grid, align_corners=False)), data.labels[index])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """The usual approach: one PIL image at a time through torchvision's transforms."""

    def __init__(self, data: Split) -> None:
        self.pictures = [Image.fromarray(image[0].numpy()) for image in data.images]
        self.labels = data.labels.tolist()
        self.transform = v2.Compose(
            [
                v2.RandomAffine(10, translate=(0.125, 0.125), scale=(0.9, 1.1), shear=5),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures[index]), self.labels[index]


def with_dataloader(data: Split, steps: int) -> None:
    """DataLoader + PIL in the training process (a worker process would use the second core)."""
    model = network().train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps + 1)
    loader = DataLoader(Pictures(data), BATCH, shuffle=True, drop_last=True)
    done = 0
    while done < steps:
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done += 1
            if done == steps:
                break


def measure(loop: Callable[[Split, int], None], data: Split, steps: int) -> float:
    """Images per second over `steps` steps."""
    start = time.perf_counter()
    loop(copy.deepcopy(data), steps)
    return steps * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = random_digits()
    loops = {"graft": with_graft, "bare loop": bare, "DataLoader + PIL": with_dataloader, "from disk": from_disk}
    for loop in loops.values():
        loop(data, 10)
    rates = {name: [] for name in loops}
    for _ in range(given.rounds):
        for name, loop in loops.items():
            rates[name].append(measure(loop, data, given.steps))
    table = Table(title=f"Training loop, {SIZE} px, batch {BATCH}, one thread, median of {given.rounds} rounds")
    table.add_column("loop")
    table.add_column("images/s", justify="right")
    table.add_column("graft / it", justify="right")
    for name, values in rates.items():
        ratio = statistics.median(g / v for g, v in zip(rates["graft"], values, strict=True))
        table.add_row(name, f"{statistics.median(values):,.0f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
