"""Overhead of the executor per stage at 25, 250 and 1,000 stages, compared with stock DVC; and of unchanged graphs.

    python -m benchmarks.faults.overhead [--stages 25 250 1000] [--stock 25 250 1000]

Every stage reads a file and writes one that another stage reads; its command is `cat`, so that everything but the work
is measured. Each tool starts in a new process, and its start is included. Expected: with two jobs <= 0.1 s per stage at
any size, and <= 3 s for 1,000 unchanged stages.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

DVC = str(Path(sys.executable).with_name("dvc"))
MOST, MOST_LOOK = 0.1, 3.0


def main() -> None:
    """Measure all sizes, print the table, and exit with 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", type=int, nargs="+", default=[25, 250, 1000])
    parser.add_argument(
        "--stock", type=int, nargs="*", default=None, help="sizes that stock DVC also runs; all by default"
    )
    given = parser.parse_args()
    table = Table(title="Seconds per stage, including start-up")
    for heading in ("stages", "graft repro, 2 jobs", "dvc repro", "nothing changed: graft", "dvc", "same dvc.lock"):
        table.add_column(heading, justify="right")
    kept = True
    for count in given.stages:
        with tempfile.TemporaryDirectory() as name:
            ours, stock = Path(name, "ours"), Path(name, "stock")
            make(ours, count)
            shutil.copytree(ours, stock)
            graft = (sys.executable, "-m", "flows.cli", "repro", "--jobs", "2")
            took, look = seconds(ours, *graft), seconds(ours, *graft)
            cells = ["", "", ""]
            if given.stock is None or count in given.stock:
                by_stock, look_of_stock = seconds(stock, DVC, "repro"), seconds(stock, DVC, "repro")
                same = (ours / "dvc.lock").read_bytes() == (stock / "dvc.lock").read_bytes()
                cells = [f"{by_stock / count:.3f}", f"{look_of_stock:.1f} s", "yes" if same else "NO"]
                kept &= same
            kept &= took / count <= MOST and (count != 1000 or look <= MOST_LOOK)
            table.add_row(str(count), f"{took / count:.3f}", cells[0], f"{look:.1f} s", *cells[1:])
    Console(width=110).print(table)
    print("kept" if kept else "NOT KEPT")
    sys.exit(0 if kept else 1)


def make(root: Path, count: int) -> None:
    """Write a project in which each stage after the first ten reads the output of the stage ten before it."""
    root.mkdir()
    subprocess.run([DVC, "init", "-q", "--no-scm"], cwd=root, check=True)
    (root / "source.txt").write_text("source")
    stages = {}
    for number in range(count):
        read = "source.txt" if number < 10 else f"{number - 10}.out"
        stages[f"s{number}"] = {"cmd": f"cat {read} > {number}.out", "deps": [read], "outs": [f"{number}.out"]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))


def seconds(root: Path, *command: str) -> float:
    """Wall time of a command; an error ends the benchmark."""
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
