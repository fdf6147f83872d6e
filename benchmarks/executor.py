"""The executor compared with `dvc repro` on the same stages, and the start-up time of a warm stage.

    python -m benchmarks.executor [--stages 26] [--seconds 0.2] [--jobs 2] [--starts 20]

Each runs in a process of its own, started cold, with cached byte code: the executor's time includes Python, DVC and the
import of the libraries into its server. Expected: executor / dvc repro <= 0.3, nothing changed <= 1, warm start <= 0.1
s, and the same `dvc.lock` from both.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from tasks.executor.processes.runner import Command, LocalRunner

REPOSITORY = Path(__file__).parents[1]
DVC = str(Path(sys.executable).with_name("dvc"))
WORK = """\
import pathlib, sys, time
import torch, torchvision

torch.set_num_threads(1)
out, seconds = sys.argv[1], float(sys.argv[2])
end, weights = time.perf_counter() + seconds, torch.ones(64, 64)
while time.perf_counter() < end:
    weights = (weights @ weights).clamp(max=1)
pathlib.Path(out).write_text(out)
"""
EXECUTOR = """\
import sys
from pathlib import Path
from tasks.executor.processes import runner
if sys.argv[2] == "warm":
    runner.start()
from tasks.executor.pipeline import Pipeline
Pipeline(Path.cwd(), jobs=int(sys.argv[1])).run()
"""
FIRST_OPERATION = "import time, torch\ntorch.ones(2).sum().item()\nprint(time.monotonic())\n"


def make_project(root: Path, stages: int, seconds: float) -> None:
    """One stage that all others depend on, like `pretrain`, and the members of a matrix."""
    root.mkdir()
    subprocess.run([DVC, "init", "--quiet", "--no-scm"], cwd=root, check=True)
    (root / "work.py").write_text(WORK)
    first = {"cmd": f"python -m work base {seconds}", "deps": ["work.py"], "outs": ["base"]}
    member = {
        "matrix": {"n": list(range(stages - 1))},
        "cmd": f"python -m work out-${{item.n}} {seconds}",
        "deps": ["work.py", "base"],
        "outs": ["out-${item.n}"],
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"base": first, "member": member}}, sort_keys=False))


def wall_time(command: list[str], folder: Path) -> float:
    """Seconds that a command takes in a process of its own."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    bin_folder = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    site = str(folder.parent / "site")
    quiet = {"PYTHONPATH": str(REPOSITORY), "PATH": bin_folder, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": site}
    begin = time.perf_counter()
    subprocess.run(command, cwd=folder, env=variables | quiet, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def compare(folder: Path, stages: int, seconds: float, jobs: int) -> Table:
    """Run the same stages with both, then again with nothing changed."""
    ours, stock = folder / "ours", folder / "stock"
    make_project(ours, stages, seconds)
    shutil.copytree(ours, stock)
    executor = [sys.executable, "-c", EXECUTOR, str(jobs)]
    repro = [DVC, "repro", "--quiet"]
    wall_time([sys.executable, "-m", "work", "warm-up", "0"], ours)  # byte code and file cache, for both
    first = wall_time([*executor, "warm"], ours), wall_time(repro, stock)
    again = [(wall_time([*executor, "cold"], ours), wall_time(repro, stock)) for _ in range(3)]
    unchanged = statistics.median(a for a, _ in again), statistics.median(b for _, b in again)
    assert (ours / "dvc.lock").read_bytes() == (stock / "dvc.lock").read_bytes(), "dvc.lock differs"

    table = Table(
        title=f"{stages} torch stages with {seconds} s of work each, {jobs} jobs; the same dvc.lock, byte for byte"
    )
    for column in ("", "executor, s", "dvc repro, s", "ratio", "target"):
        table.add_column(column, justify="left" if not column else "right")
    for name, (a, b), target in (("all stages", first, "0.30"), ("nothing changed", unchanged, "1.00")):
        table.add_row(name, f"{a:.2f}", f"{b:.2f}", f"{a / b:.2f}", f"≤ {target}")
    return table


def warm_starts(folder: Path, starts: int) -> Table:
    """Seconds from the request to the end of the first torch operation, in a child of a running server."""
    (folder / "probe.py").write_text(FIRST_OPERATION)
    runner, times = LocalRunner(), []
    command = Command("python -m probe", (), folder, dict(os.environ))
    for _ in range(starts + 1):
        lines: list[str] = []
        begin = time.monotonic()
        assert runner.start(command, lines.append).wait() == 0, lines
        times.append(float(lines[0]) - begin)
    runner.close()
    first, *rest = times
    table = Table(title=f"From the request to the first torch operation in a stage's process, {starts} starts")
    for column in ("first (libraries imported)", "median, s", "slowest, s", "target"):
        table.add_column(column, justify="right")
    table.add_row(f"{first:.2f}", f"{statistics.median(rest):.3f}", f"{max(rest):.3f}", "≤ 0.1")
    return table


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", type=int, default=26)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--starts", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        Console().print(compare(Path(folder), given.stages, given.seconds, given.jobs))
        Console().print(warm_starts(Path(folder), given.starts))


if __name__ == "__main__":
    main()
