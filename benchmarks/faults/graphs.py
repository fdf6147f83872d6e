"""Random graphs, by stock `dvc repro` and by `graft repro --jobs 4`: the same `dvc.lock`, byte for byte.

    python -m benchmarks.faults.graphs [--graphs 100] [--seed 0]

Each has 5 to 60 stages in a random order of the file: plain commands, lists of commands, outputs that are folders,
parameters, a matrix, frozen stages, outputs that are not cached, stages that always run, working folders, and sometimes
a second dvc.yaml below. Both run it, then again after an edit. Expected: equal dvc.lock files after both, and nothing
left to do for either.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import track

from benchmarks.faults.small import command

DVC = str(Path(sys.executable).with_name("dvc"))
PARAMETERS = {"lr": 0.001, "nested": {"deep": [1, 2], "text": "a: b"}, "names": ["x", "y"]}


def main() -> None:
    """Run all, print those that differ, and exit with 1 if any does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    console, equal, tried, stages = Console(width=110), 0, 0, 0
    seeds = range(given.seed, given.seed + given.graphs)
    try:
        for seed in track(seeds, "graphs", console=console, disable=not console.is_terminal):
            with tempfile.TemporaryDirectory() as name:
                ours, stock = Path(name, "ours"), Path(name, "stock")
                count = make(ours, random.Random(seed))
                shutil.copytree(ours, stock, symlinks=True)
                fault = compare(ours, stock)
            equal, tried, stages = equal + (not fault), tried + 1, stages + count
            if fault:
                console.print(f"graph {seed}: {fault}", highlight=False)
    finally:  # also of a series that is ended early
        console.print(f"{equal} of {tried} graphs with {stages} stages in all: the same dvc.lock.", highlight=False)
    sys.exit(0 if equal == given.graphs else 1)


def make(root: Path, draw: random.Random) -> int:
    """Write a random project; how many stages it has."""
    root.mkdir()
    subprocess.run([DVC, "init", "-q", "--no-scm"], cwd=root, check=True)
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMETERS))
    files = [f"source{number}.txt" for number in range(4)]
    for file in files:
        (root / file).write_text(file)
    (root / "sub").mkdir()
    count = draw.randint(5, 60)
    here: dict[str, Any] = {}
    below: dict[str, Any] = {}
    for number in range(count):
        if draw.random() < 0.1:
            below[f"b{number}"], out = _stage(draw, f"b{number}", [f"../{file}" for file in files], "sub")
        else:
            here[f"s{number}"], out = _stage(draw, f"s{number}", files, ".")
        files += [out] if out else []
    for folder, stages in ((root, here), (root / "sub", below)):
        if stages:
            names = list(stages)
            draw.shuffle(names)
            content = yaml.safe_dump({"stages": {name: stages[name] for name in names}}, sort_keys=False)
            (folder / "dvc.yaml").write_text(content)
    return count


def _stage(draw: random.Random, name: str, files: list[str], folder: str) -> tuple[dict[str, Any], str]:
    """A stage that reads some of `files`, and the file that it makes, seen from the top; nothing for some."""
    inputs = draw.sample(files, k=min(len(files), draw.randint(0, 4)))
    out, read = f"{name}.out", " ".join(inputs)
    kind = draw.choice(["file", "list", "folder", "uncached", "matrix", "wdir", "always", "frozen"])
    stage: dict[str, Any] = {
        "cmd": f"cat /dev/null {read} > {out}; echo {name} >> {out}",
        "deps": inputs,
        "outs": [out],
    }
    if draw.random() < 0.4 and folder == ".":
        stage["params"] = draw.sample(["lr", "nested.deep", "nested.text"], k=draw.randint(1, 3))
    made = out if folder == "." else f"{folder}/{out}"
    if kind == "list":
        stage["cmd"] = [f"cat /dev/null {read} > {name}.part", f"mv {name}.part {out}", f"echo {name} >> {out}"]
    elif kind == "folder":
        stage["cmd"] = f"mkdir {out} && cat /dev/null {read} > {out}/one && echo {name} > {out}/two"
        made = ""
    elif kind == "uncached":
        stage["outs"] = [{out: {"cache": False}}]
    elif kind == "matrix" and folder == ".":
        stage["matrix"] = {"n": [1, 2], "word": "${names}"}
        stage["cmd"] = f"cat /dev/null {read} > {name}-${{item.n}}-${{item.word}}"
        stage["outs"] = [f"{name}-${{item.n}}-${{item.word}}"]
        made = f"{name}-1-x"
    elif kind == "wdir" and folder == ".":
        stage["wdir"] = "sub"
        stage["deps"] = [f"../{file}" for file in inputs]
        stage["cmd"] = f"cat /dev/null {' '.join(stage['deps'])} > {out}"
        if "params" in stage:
            stage["params"] = [{"../params.yaml": stage["params"]}]
        made = f"sub/{out}"
    elif kind == "always":
        stage["always_changed"] = True
    elif kind == "frozen":  # it is never run, yet recorded with what it reads
        stage |= {"frozen": True, "cmd": "false", "outs": []}
        made = ""
    return stage, made


def compare(ours: Path, stock: Path) -> str:
    """Run both, edit, run both again; what differs."""
    for round_ in ("at first", "after an edit"):
        targets = ["dvc.yaml"] + (["sub/dvc.yaml"] if (ours / "sub/dvc.yaml").exists() else [])
        done = command(ours, "repro", "--jobs", "4", *targets)
        by_stock = subprocess.run([DVC, "repro", *targets], cwd=stock, capture_output=True, text=True, check=False)
        if done.returncode or by_stock.returncode:
            return f"{round_}: graft {done.returncode}, dvc {by_stock.returncode}\n{done.stdout}\n{by_stock.stderr}"
        for lock in ("dvc.lock", "sub/dvc.lock"):
            if _read(ours / lock) != _read(stock / lock):
                return f"{round_}: {lock} differs"
        for root in (ours, stock):
            (root / "source1.txt").write_text("edited")
            (root / "params.yaml").write_text(yaml.safe_dump(PARAMETERS | {"lr": 1.5e-05}))
    return ""


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


if __name__ == "__main__":
    main()
