"""1,200 broken files and settings: each must be reported, with file and reason, or be skipped if that is asked for.

    python -m benchmarks.fuzz [--cases 1200] [--seed 0] [--jobs 2]

Every case is a small valid project in which one thing is broken, at random but seeded. It passes through the checks
of params.yaml, mlflow.yaml and prefect.yaml, and through `prepare`, every other one with `on_error: skip`. Expected of
each: a readable error, a list of what was skipped, or no harm (the damage hit data that is not read); never another
exception, more than 2 GB, more than a minute (including its creation), or half-written output.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.breaking import KINDS, make_project
from benchmarks.projects import ROOT
from tasks.checks.parameters import check_parameters
from tasks.common.errors import GraftError
from tasks.prepare import prepare
from tasks.settings.mlflow import read_mlflow_settings
from tasks.settings.prefect import read_deployments
from tasks.settings.prepare import PrepareSettings
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.yaml_sections import read_section
from tasks.source_models.find import origin
from tasks.source_models.given_network import write_given

MOST_SECONDS, MOST_BYTES = 60, 2_000_000_000
GOOD = ("reported", "skipped", "harmless")
ESCAPED = Path("/tmp/escaped.txt")
"""A file that some archives try to write."""
_CHUNK = 50


def judge(root: Path, *, skip: bool) -> tuple[str, str]:
    """The outcome of a broken project: one of `GOOD`, or what was wrong; and the message to the user."""
    finished: list[str] = []
    try:
        for check in (lambda: check_parameters(root), lambda: read_mlflow_settings(root, {})):
            check()
        read_deployments(root)
        settings = read_section(root / "params.yaml", "prepare", PrepareSettings)
        values = vars(settings) | {"on_error": "skip" if skip else "fail", "image_size": 8}
        prepare(root, PrepareSettings(**values))
        finished.append("data")
        given = read_section(root / "params.yaml", "pretrain", PretrainSettings).weights
        write_given(root / "build/given", given, "", origin(given, root))
    except GraftError as error:
        left = {path.name for path in (root / "build").glob("*")} - {*finished}
        text = str(error)
        named = re.search(r"(data/|weights/|\.yaml|data\.dvc|given\.)", text)
        text.encode()
        readable = named and len(text) < 40_000
        return ("half-written output" if left else "reported" if readable else "reported badly"), text
    except MemoryError as error:
        return "out of memory", str(error)
    except Exception as error:
        return f"traceback: {type(error).__name__}", f"{type(error).__name__}: {error}"
    card = json.loads((root / "build/data/card.json").read_text())
    skipped = [text for part in card["domains"].values() for text in part["skipped"]]
    return ("skipped" if skipped else "harmless"), "\n".join(skipped)


def draw(cases: int, seed: int) -> list[tuple[int, str]]:
    """The seed and the kind of each case; the first cases do not depend on the number of cases."""
    chance = random.Random(seed)
    names, shares = list(KINDS), [share for share, _ in KINDS.values()]
    return [(chance.randrange(1 << 30), chance.choices(names, shares)[0]) for _ in range(cases)]


def examine(root: Path, seed: int, kind: str) -> dict[str, Any]:
    """Make one case and judge it."""
    chance = random.Random(seed)
    root.mkdir()
    make_project(root)
    KINDS[kind][1](root, chance)
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak, which making the case may have raised
    begin = time.perf_counter()
    outcome, text = judge(root, skip=bool(seed % 2))
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    memory = int(peak[1]) * 1024 if peak else 0
    if memory > MOST_BYTES:
        outcome = "too much memory"
    if ESCAPED.exists() or list(root.parent.rglob("escaped*")):
        outcome = "a file outside the project"
    seconds = time.perf_counter() - begin
    shutil.rmtree(root)
    return {"seed": seed, "kind": kind, "outcome": outcome, "text": text[:500], "memory": memory, "seconds": seconds}


def child(cases: list[tuple[int, str]]) -> None:
    """Examine cases and print one line of JSON per case; a case that hangs ends the process."""
    with tempfile.TemporaryDirectory(prefix="graft-fuzz-") as folder:
        for number, (seed, kind) in enumerate(cases):
            signal.alarm(MOST_SECONDS)
            print(json.dumps(examine(Path(folder, str(number)), seed, kind)), flush=True)


def run(cases: list[tuple[int, str]]) -> list[dict[str, Any]]:
    """The outcomes of all cases; if a child dies, that is the outcome of its current case."""
    found: list[dict[str, Any]] = []
    while len(found) < len(cases):
        rest = json.dumps(cases[len(found) :])
        command = [
            sys.executable,
            "-c",
            "import json, sys; from benchmarks.fuzz import child; child(json.load(sys.stdin))",
        ]
        ended = subprocess.run(command, cwd=ROOT, input=rest, capture_output=True, text=True, check=False)
        found += [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
        if len(found) < len(cases):
            seed, kind = cases[len(found)]
            outcome = "hang" if ended.returncode == -signal.SIGALRM else f"died ({ended.returncode})"
            known = {"seed": seed, "kind": kind, "outcome": outcome, "text": ended.stderr[-1500:]}
            found.append(known | {"memory": 0, "seconds": 0.0})
    return found


def run_all(cases: list[tuple[int, str]], jobs: int) -> Iterator[dict[str, Any]]:
    """The same, in several children at once; yields the outcomes in order."""
    with ThreadPoolExecutor(jobs) as threads:
        for found in threads.map(run, (cases[start : start + _CHUNK] for start in range(0, len(cases), _CHUNK))):
            yield from found


def main() -> None:
    """Examine all cases, print the tables, and exit with 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    given = parser.parse_args()
    found = list(run_all(draw(given.cases, given.seed), given.jobs))
    counts = Counter((case["kind"], case["outcome"] if case["outcome"] in GOOD else "BAD") for case in found)
    table = Table(title=f"{len(found):,} broken projects, seed {given.seed}")
    for column in ("what is broken", *GOOD, "BAD", "most MB", "most s"):
        table.add_column(column, justify="left" if column.startswith("what") else "right")
    for kind in KINDS:
        of_kind = [case for case in found if case["kind"] == kind] or [{"memory": 0, "seconds": 0.0}]
        most = [f"{max(c['memory'] for c in of_kind) / 1e6:,.0f}", f"{max(c['seconds'] for c in of_kind):.1f}"]
        table.add_row(kind, *(str(counts[kind, outcome]) for outcome in (*GOOD, "BAD")), *most)
    Console(width=110).print(table)
    bad = [case for case in found if case["outcome"] not in GOOD]
    for case in bad[:40]:
        print(f"{case['kind']}, seed {case['seed']}: {case['outcome']}: {case['text']}")
    print("NOT KEPT" if bad else "kept")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
