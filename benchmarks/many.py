"""100,000 small images, one file each: the time to prepare them, and to find that none changed.

    python -m benchmarks.many [--images 100000] [--looks 3]

Makes the images (PNG, 32 px, colour, in class folders), runs the stage `prepare` alone, then a short run of the whole
graph, then asks for the status. Compared with plain DVC: a graph of as many stages, each of which reads the raw folder.
CPU seconds are those of a command's own processes; on a shared machine they are more reliable than wall time.
Expected: `prepare` <= 60 s and <= 1.5 GB, `graft status` with nothing changed <= 3 s.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.projects import clone, set_parameters

DVC = str(Path(sys.executable).with_name("dvc"))
SIZE, CLASSES = 32, 10
STAGES = 5
"""Stages of a graph with one trial: prepare, pretrain, forecast, finetune, evaluate."""
MOST_SECONDS, MOST_BYTES, MOST_LOOK = 60.0, 1.5e9, 3.0
SHORT = {"steps": 20, "batch_size": 64, "evaluations": 1}


class Spent(NamedTuple):
    """Time and memory of a command, including its children."""

    wall: float
    cpu: float
    memory: int
    """Peak memory of its largest process, in bytes."""


def spent(folder: Path, *command: str) -> Spent:
    """Run a command; an error ends the benchmark."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    site = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder.parent / "site"), "PATH": path}
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=variables | site, stdout=output, stderr=output)
        _, code, used = os.wait4(process.pid, 0)
        wall, process.returncode = time.perf_counter() - begin, os.waitstatus_to_exitcode(code)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)} failed in {folder}:\n{output.read().decode()}")
    return Spent(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def median(looks: list[Spent]) -> Spent:
    """The median of each figure."""
    return Spent(*(type(column[0])(statistics.median(column)) for column in zip(*looks, strict=True)))


def write_pictures(folder: Path, first: int, count: int, seed: int) -> None:
    """Write `count` images to the folders of their classes; no two are the same."""
    random = np.random.RandomState(seed)
    coarse = random.randint(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    for number, blocks in enumerate(coarse, first):
        pixels = blocks.repeat(SIZE // 4, axis=0).repeat(SIZE // 4, axis=1)
        pixels[number % SIZE] = number >> 4 & 255
        Image.fromarray(pixels).save(folder / f"class{number % CLASSES}" / f"{number:06}.png", compress_level=1)


def make_data(folder: Path, pictures: int) -> None:
    """Write all images: nine tenths are the source's, the others the target's."""
    tasks = []
    for name, first, last in (("source", 0, pictures * 9 // 10), ("target", pictures * 9 // 10, pictures)):
        for label in range(CLASSES):
            (folder / name / f"class{label}").mkdir(parents=True)
        tasks += [(folder / name, start, min(5000, last - start), start) for start in range(first, last, 5000)]
    with ProcessPoolExecutor() as processes:
        for _ in processes.map(write_pictures, *zip(*tasks, strict=True)):
            pass


def make_project(folder: Path, pictures: int) -> Path:
    """A clone of this project with this data, and with almost nothing to train."""
    project = clone(folder)
    make_data(project / "data", pictures)
    set_parameters(
        project,
        seeds=[0],
        label_budgets=[5],
        strategies={"scratch": {}},
        label_free={},
        prepare={"image_size": SIZE, "channels": 3},
        pretrain={"training": SHORT},
        finetune={"training": SHORT},
    )
    return project


def make_plain(folder: Path, data: Path) -> Path:
    """A stock DVC project whose stages all read the raw folder."""
    folder.mkdir()
    subprocess.run([DVC, "init", "-q", "--no-scm"], cwd=folder, check=True)
    shutil.copytree(data, folder / "data", copy_function=os.link)
    graph = {f"s{n}": {"cmd": f"echo {n} > {n}.out", "deps": ["data"], "outs": [f"{n}.out"]} for n in range(STAGES)}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": graph}, sort_keys=False))
    return folder


def measure(root: Path, pictures: int, looks: int) -> Iterator[tuple[str, Spent, str]]:
    """(step, time and memory, promise) of each step."""
    graft = (sys.executable, "-m", "flows.cli")
    project = make_project(root / "ours", pictures)
    yield "prepare", spent(project, sys.executable, "-m", "tasks.prepare"), "≤ 60 s, ≤ 1.5 GB"
    yield "graft run, first time", spent(project, *graft, "run", "--update-data"), ""
    yield "graft status, nothing changed", median([spent(project, *graft, "status") for _ in range(looks)]), "≤ 3 s"
    yield "graft run, nothing changed", median([spent(project, *graft, "run") for _ in range(looks)]), ""
    plain = make_plain(root / "plain", project / "data")
    yield f"dvc repro, {STAGES} stages on the raw folder, first time", spent(plain, DVC, "repro", "-q"), ""
    yield "dvc status, nothing changed", median([spent(plain, DVC, "status", "-q") for _ in range(looks)]), ""
    yield "dvc repro, nothing changed", median([spent(plain, DVC, "repro", "-q") for _ in range(looks)]), ""


def main() -> None:
    """Measure, print the table, and exit with 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--looks", type=int, default=3)
    given = parser.parse_args()
    table = Table(title=f"{given.images:,} images of {SIZE} px, {len(os.sched_getaffinity(0))} cores")
    for column in ("", "s", "CPU s", "MB", "promised"):
        table.add_column(column, justify="left" if not column else "right")
    kept = True
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        for name, took, promised in measure(Path(folder), given.images, given.looks):
            table.add_row(name, f"{took.wall:.1f}", f"{took.cpu:.1f}", f"{took.memory / 1e6:,.0f}", promised)
            kept &= name != "prepare" or (took.wall <= MOST_SECONDS and took.memory <= MOST_BYTES)
            kept &= not name.startswith("graft status") or took.wall <= MOST_LOOK
            print(f"{name}: {took.wall:.1f} s, {took.cpu:.1f} s of CPU, {took.memory / 1e6:,.0f} MB", flush=True)
    Console(width=110).print(table)
    print("kept" if kept else "NOT KEPT")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
