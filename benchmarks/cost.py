"""The cost of each strategy: seconds and peak memory relative to fine_tune, and the savings of distillation.

    python -m benchmarks.cost [--rounds 3]

On the demo's data at 10 labels per class, with the demo's budget, each trial alone in a process with one thread.
Expected: on EfficientNet-Lite0 at 128 px, 20 epochs of the linear probe cost <= 1.2 x one forward pass over the
training images. (On the demo's tiny network, a pass is cheaper than a few hundred optimiser steps.)
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import study
from benchmarks.projects import clone, graft, run
from graft.data.split import Domains, Split
from graft.loop import train
from graft.measures.cost import multiply_adds, parameters
from graft.networks.network import Description, Network, predict
from graft.settings import Training
from graft.strategies import strategy_class, strategy_names
from graft.strategies.distill import Distill
from graft.strategies.linear_probe import LinearProbe
from tasks.artifacts.networks import load_network
from tasks.artifacts.splits import load_split
from tasks.settings.finetune import FinetuneSettings
from tasks.settings.yaml_sections import read_section

LABELS = 10
EPOCHS = 20
PICTURES = 1000
MOST = 1.2
"""Most forward passes that 20 epochs of the probe may cost."""


def main() -> None:
    """Measure, print the tables, and exit with 1 if the promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        project = clone(Path(folder, "project"))
        graft(project, "data", "demo")
        run(project, "dvc", "repro", "--quiet", "pretrain")
        parts = [load_split(project / "build/data" / name) for name in ("pool", "test", "source")]
        problem = study.Problem(load_network(project / "build/pretrained"), *parts)
        training = read_section(project / "params.yaml", "finetune", FinetuneSettings).training
        study.save(problem, Path(folder, "problem"))
        strategies(Path(folder, "problem"), training, given.rounds)
        kept = probe()
        student(Path(folder, "problem"), training)
    sys.exit(0 if kept else 1)


def strategies(folder: Path, training: Training, rounds: int) -> None:
    """Print every strategy's seconds and memory, also as multiples of fine_tune's."""
    asked = {name: {} for name in strategy_names() if not strategy_class(name)().text_bytes}
    rows = [
        row
        for _ in range(rounds)  # rounds take turns, so that a machine whose speed drifts does not favour one
        for row in study.run(folder, asked, [LABELS], [0], training, jobs=1, alone=True)
    ]
    measured = {
        name: (
            statistics.median(row.seconds for row in rows if row.strategy == name),
            statistics.median(row.megabytes for row in rows if row.strategy == name),
        )
        for name in asked
    }
    unit = measured["fine_tune"]
    table = Table(title=f"Cost per trial, {training.steps} steps, median of {rounds}")
    for heading in ("strategy", "CPU seconds", "x fine_tune", "peak memory, MB", "x fine_tune"):
        table.add_column(heading, justify="left" if heading == "strategy" else "right")
    for name, (seconds, megabytes) in sorted(measured.items(), key=lambda item: item[1]):
        ratios = (seconds / unit[0], megabytes / unit[1])
        table.add_row(name, f"{seconds:.2f}", f"{ratios[0]:.2f}", f"{megabytes:.0f}", f"{ratios[1]:.2f}")
    Console(width=110).print(table)


def probe() -> bool:
    """Compare the linear probe on EfficientNet-Lite0 at 128 px with one forward pass over the same images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (PICTURES, 3, 128, 128), generator=generator, dtype=torch.uint8)
    pictures = Split(images, torch.arange(PICTURES) % 10, tuple("0123456789"))
    few = pictures.take(torch.arange(20))
    network = Network(Description("efficientnet_lite0", pictures.classes, 3, 128)).to(memory_format=torch.channels_last)
    budget = Training(steps=EPOCHS * PICTURES // 64, batch_size=64, evaluations=1)

    def learn() -> None:
        strategy = LinearProbe()
        train(strategy.adapt(network, pictures.classes), strategy, Domains(pictures, few), budget)

    ratio = statistics.median(seconds(learn) / seconds(lambda: predict(network, images)) for _ in range(3))
    Console().print(f"{EPOCHS} epochs of linear_probe: {ratio:.2f} x one forward pass (at most {MOST})")
    return ratio <= MOST


def student(folder: Path, training: Training) -> None:
    """Print the inference cost and the accuracy of a distilled network, its teacher and a fine-tuned network."""
    teacher, test = load_network(folder / "pretrained"), load_split(folder / "test")
    assert teacher.description.classes == test.classes
    right = predict(teacher, test.images)[0].argmax(dim=1) == test.labels
    trials = list(study.run(folder, {"distill": {}, "fine_tune": {}}, [LABELS], [0, 1, 2], training))
    reached = {
        name: statistics.fmean(row.accuracy for row in trials if row.strategy == name)
        for name in ("distill", "fine_tune")
    }
    pupil = Distill().finish(Distill().adapt(load_network(folder / "pretrained"), teacher.description.classes)).eval()
    table = Table(title="Inference: teacher and distilled student")
    headings = ("network", "parameters", "multiply-adds per image", "ms per image", "ms per batch of 64", "accuracy %")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "network" else "right")
    shown = (
        ("teacher, not adapted", teacher, float(right.double().mean())),
        (f"student ({pupil.description.backbone})", pupil, reached["distill"]),
        ("teacher, fine-tuned", teacher, reached["fine_tune"]),
    )
    for name, network, accuracy in shown:
        latencies = (f"{latency(network, size):.2f}" for size in (1, 64))
        size, work = f"{parameters(network):,}", f"{multiply_adds(network):,}"
        table.add_row(name, size, work, *latencies, f"{100 * accuracy:.1f}")
    Console(width=110).print(table)


@torch.inference_mode()
def latency(network: Network, size: int) -> float:
    """Median milliseconds per batch."""
    how = network.description
    images = torch.rand(size, how.channels, how.image_size, how.image_size)
    return 1000 * statistics.median(seconds(lambda: network(images)) for _ in range(50))


def seconds(what: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    what()
    return time.process_time() - start


if __name__ == "__main__":
    main()
