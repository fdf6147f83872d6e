"""A day of the service, shortened to an hour: one run per minute, while the data changes at random.

    python -m benchmarks.faults.day [--minutes 60] [--interval 60] [--seed 0]

`graft schedule` serves a small demo with `update_data: true`. Meanwhile, images of the target or of the source are
edited, a file is broken and fixed, and earlier data is restored, at random moments, during runs and between them.
Memory and open files of the service and of its Prefect server are sampled every few seconds.

Expected: every version of the data has one result, and each of its stages ran once; no run was lost, and none failed
except on data that is refused; memory and open files do not grow from the second quarter to the last.
"""

import argparse
import hashlib
import io
import json
import random
import re
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import yaml
from rich.console import Console

from benchmarks.faults.small import doubled_runs, is_clean, orphans, small_project, start

MOST_GROWTH = 1.1
"""Most growth of memory and of open files, from the second quarter to the last."""
MENDED_AFTER = 1.7
"""Intervals after which a broken file is fixed."""
TO_COME = ("Scheduled", "Pending", "Late", "Running")


@dataclass
class Data:
    """The data of a project, edited at random; each edit replaces one file at once."""

    root: Path
    draw: random.Random
    versions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Every valid version: the folder's hash, as in DVC, and its files."""
    is_broken: bool = False

    def note(self) -> None:
        """Remember the current version."""
        files = {path.relative_to(self.root).as_posix(): path.read_bytes() for path in sorted(self.root.rglob("*.npz"))}
        entries = [{"md5": hashlib.md5(content).hexdigest(), "relpath": path} for path, content in files.items()]
        self.versions[f"{hashlib.md5(json.dumps(entries).encode()).hexdigest()}.dir"] = files

    def change(self) -> str:
        """Make a random change; returns its kind."""
        if self.is_broken:
            self.is_broken = False
            self._put(self.draw.choice([*self.versions.values()]))
            return "fixed"
        what = self.draw.choices(("target", "source", "back", "broken"), (5, 2, 2, 2))[0]
        if what == "back":
            self._put(self.draw.choice([*self.versions.values()]))
        elif what == "broken":
            self.is_broken = True
            path = self.root / "target/train.npz"
            self._replace(path, path.read_bytes()[: self.draw.randrange(100, 10_000)])
        else:
            self._edit(self.root / what / "train.npz")
            self.note()
        return what

    def _put(self, files: dict[str, bytes]) -> None:
        for path, content in files.items():
            if (self.root / path).read_bytes() != content:
                self._replace(self.root / path, content)

    def _edit(self, path: Path) -> None:
        with np.load(path) as file:
            content = {name: file[name] for name in file.files}
        picture = self.draw.randrange(len(content["images"]))
        content["images"][picture] = 255 - content["images"][picture]
        with io.BytesIO() as written:
            np.savez(written, **content)
            self._replace(path, written.getvalue())

    def _replace(self, path: Path, content: bytes) -> None:
        """Replace a file atomically, without a temporary file in the data folder that a run could read."""
        temporary = self.root.parent.with_suffix(".new")
        temporary.write_bytes(content)
        temporary.replace(path)


def main() -> None:
    """Serve, change the data, stop, print the outcome, and exit with 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--interval", type=float, default=60, help="seconds between two runs")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as name:
        project = small_project(Path(name, "project"))
        settings = yaml.safe_load((project / "prefect.yaml").read_text(encoding="utf-8"))
        settings["deployments"][0]["schedules"] = [{"interval": given.interval}]
        (project / "prefect.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        data = Data(project / "data", random.Random(given.seed))
        data.note()
        console.print("Serving; changes:", end=" ")
        said, used, changes = _serve(project, data, given.minutes * 60, given.interval, console)
        console.print()
        states = _states(project)
        faults = [*_faults(project, data, said, states), *_growth(used, console)]
    console.print(f"{sum(changes.values())} changes: {_counts(changes)}. {len(data.versions)} versions of the data.")
    console.print(f"{sum(states.values())} runs: {_counts(states)}.", highlight=False)
    for fault in faults:
        console.print(fault, highlight=False)
    console.print("kept" if not faults else "NOT KEPT")
    sys.exit(1 if faults else 0)


Used = list[dict[str, float]]


def _serve(
    project: Path, data: Data, seconds: float, interval: float, console: Console
) -> tuple[str, Used, Counter[str]]:
    """Serve for `seconds`, and stop after the last change has been handled."""
    with (project.parent / "said.txt").open("w+", encoding="utf-8") as said:
        service = start(project, "schedule", out=said)
        begin = time.monotonic()
        due, last = begin + interval * 2, begin + seconds - interval * 3
        used: Used = []
        changes: Counter[str] = Counter()
        while time.monotonic() < begin + seconds:
            time.sleep(min(5.0, interval / 10))
            used.append(_used(service.pid))
            now = time.monotonic()
            if now >= due and (now < last or data.is_broken):
                what = data.change()
                changes[what] += 1
                console.print(what, end=" ")
                due = now + interval * (MENDED_AFTER if data.is_broken else data.draw.uniform(1.2, 5))
        while any("prefect.engine" in process.cmdline() for process in psutil.Process(service.pid).children()):
            time.sleep(0.2)
        service.send_signal(signal.SIGTERM)
        service.wait()
        said.seek(0)
        return said.read(), used, changes


def _used(pid: int) -> dict[str, float]:
    """Megabytes and open files of the service and of its server, without those of the runs."""
    found: dict[str, float] = {}
    with suppress(psutil.Error):
        service = psutil.Process(pid)
        for process in (service, *service.children()):
            name = "service" if process.pid == pid else "server"
            if name == "service" or "server" in process.cmdline():
                found[f"MB of the {name}"] = process.memory_full_info().uss / 2**20
                found[f"open files of the {name}"] = process.num_fds()
    return found


def _growth(used: Used, console: Console) -> list[str]:
    """Print the use in each quarter; returns what has grown from the second to the last."""
    faults = []
    for name in sorted({name for sample in used for name in sample}):
        values = [sample[name] for sample in used if name in sample]
        size = len(values) // 4
        quarters = [statistics.median(values[place * size : (place + 1) * size]) for place in range(4)]
        medians = ", ".join(f"{value:.0f}" for value in quarters)
        console.print(f"{name}, median per quarter: {medians}", highlight=False)
        if quarters[3] > quarters[1] * MOST_GROWTH:
            faults.append(f"{name} grew from {quarters[1]:.0f} to {quarters[3]:.0f}")
    return faults


def _faults(project: Path, data: Data, said: str, states: Counter[str]) -> list[str]:
    with closing(sqlite3.connect(project / ".graft/mlflow/mlflow.db")) as database:
        results = Counter(md5 for (md5,) in database.execute(_TAG.format("dvc.data_md5") + " and kind.value = 'flow'"))
        trained = database.execute(_TAG.format("graft.stage_key") + " and kind.value != 'flow'").fetchall()
    faults = [f"version {md5} has {results[md5]} results" for md5 in data.versions if results[md5] != 1]
    faults += [f"there is a result of {md5}, which is not a version" for md5 in results.keys() - data.versions.keys()]
    faults += [f"two runs in MLflow of {key}" for key in doubled_runs(project)]
    times = sum(name.startswith(("finetune@", "adapt@", "pretrain")) for name in re.findall(r"- (\S+): done", said))
    if times != len(trained):
        faults.append(f"{len(trained)} trainings are recorded, {times} took place")
    faults += [f"{count} runs are {state}" for state, count in states.items() if state == "Crashed" or state in TO_COME]
    refused = said.count("the new data is refused")
    if states["Failed"] > refused:
        faults.append(f"{states['Failed']} runs failed, but only {refused} of them refused data")
    faults += [] if is_clean(project) else ["dvc status finds something to do"]
    return faults + [f"an orphan was left: {line}" for line in orphans(project)]


_TAG = (
    "select tags.value from tags join runs on runs.run_uuid = tags.run_uuid "
    "join tags kind on kind.run_uuid = runs.run_uuid and kind.key = 'kind' "
    "where tags.key = '{}' and runs.lifecycle_stage = 'active'"
)


def _states(project: Path) -> Counter[str]:
    """Final states of the runs that were due before the service was stopped."""
    (path,) = (project / ".graft").rglob("prefect.db")
    with closing(sqlite3.connect(path)) as database:
        return Counter(
            state
            for (state,) in database.execute(
                "select state_name from flow_run where start_time is not null or state_name = 'Late'"
            )
        )


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counted.items()))


if __name__ == "__main__":
    main()
