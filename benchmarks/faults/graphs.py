"""Random graphs, run by stock `dvc repro` and by `graft repro --jobs 4`: the same files and `dvc.lock`, byte for byte.

    python -m benchmarks.faults.graphs [--graphs 100] [--seed 0]

Each has 5 to 60 stages in random file order: plain commands, lists of commands, outputs that are folders, parameters, a
matrix, a foreach, frozen stages, outputs that are not cached or persist, stages that always run, working directories,
an import, and sometimes a second dvc.yaml in a subfolder. Both run it, then again after an edit. Expected after each:
the same files, including dvc.lock, and nothing to do by `dvc status` except for stages that always run.
"""

import argparse
import contextlib
import logging
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo
from rich.console import Console
from rich.progress import track

from benchmarks.faults.small import command

DVC = str(Path(sys.executable).with_name("dvc"))
KINDS = ("file", "list", "folder", "uncached", "persist", "matrix", "foreach", "wdir", "always", "frozen")
PARAMETERS = {"lr": 0.001, "nested": {"deep": [1, 2], "text": "a: b"}, "names": ["x", "y"]}


def main() -> None:
    """Run all, print those that differ, and exit with 1 if any does."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.getLogger("dvc").setLevel(logging.ERROR)  # it warns about every frozen stage
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
    finally:  # also if the series is interrupted
        console.print(f"{equal} of {tried} graphs with {stages} stages in total: the same files.", highlight=False)
    sys.exit(0 if equal == given.graphs else 1)


def make(root: Path, draw: random.Random) -> int:
    """Write a random project; returns its number of stages."""
    root.mkdir()
    subprocess.run([DVC, "init", "-q", "--no-scm"], cwd=root, check=True)
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMETERS))
    files = [f"source{number}.txt" for number in range(4)]
    for file in files:
        (root / file).write_text(file)
    (root.parent / "origin.txt").write_text("origin")
    subprocess.run([DVC, "import-url", "-q", str(root.parent / "origin.txt"), "imported.txt"], cwd=root, check=True)
    files.append("imported.txt")
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
    """A stage that reads some of `files`, and the file that it writes, relative to the root; "" if it has none."""
    inputs = draw.sample(files, k=min(len(files), draw.randint(0, 4)))
    out, read = f"{name}.out", " ".join(inputs)
    kind = draw.choice(KINDS)
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
    elif kind == "persist":
        stage["cmd"] = f"cat /dev/null {read} >> {out}; echo {name} >> {out}"
        stage["outs"] = [{out: {"persist": True}}]
    elif kind == "foreach":
        each = {**stage, "cmd": f"cat /dev/null {read} > ${{item}}-{out}", "outs": [f"${{item}}-{out}"]}
        stage = {"foreach": ["one", "two"], "do": each}
        made = f"one-{out}" if folder == "." else f"{folder}/one-{out}"
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
    elif kind == "frozen":  # it never runs, but is recorded with its dependencies
        stage |= {"frozen": True, "cmd": "false", "outs": []}
        made = ""
    return stage, made


def compare(ours: Path, stock: Path) -> str:
    """Run both, edit, run both again; returns what differs."""
    for round_ in ("at first", "after an edit"):
        targets = ["dvc.yaml"] + (["sub/dvc.yaml"] if (ours / "sub/dvc.yaml").exists() else [])
        done = command(ours, "repro", "--jobs", "4", *targets)
        by_stock = subprocess.run([DVC, "repro", *targets], cwd=stock, capture_output=True, text=True, check=False)
        if done.returncode or by_stock.returncode:
            return f"{round_}: graft {done.returncode}, dvc {by_stock.returncode}\n{done.stdout}\n{by_stock.stderr}"
        by_us, by_them = contents(ours), contents(stock)
        if differing := sorted(path for path in by_us.keys() | by_them.keys() if by_us.get(path) != by_them.get(path)):
            return f"{round_}: {', '.join(differing)}: not the same"
        if left := to_do(ours) or to_do(stock):
            return f"{round_}: still to do: {left}"
        for root in (ours, stock):
            (root / "source1.txt").write_text("edited")
            (root / "params.yaml").write_text(yaml.safe_dump(PARAMETERS | {"lr": 1.5e-05}))
    return ""


def contents(root: Path) -> dict[str, bytes]:
    """Path and content of all files of a project, without DVC's own folder."""
    found = (path for path in sorted(root.rglob("*")) if path.is_file() and ".dvc" not in path.relative_to(root).parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def to_do(root: Path) -> dict[str, Any]:
    """The `dvc status` of a project, without stages that always run."""
    with contextlib.chdir(root), Repo() as repo:
        found = repo.status()
    return {name: why for name, why in found.items() if why != ["always changed"]}


if __name__ == "__main__":
    main()
