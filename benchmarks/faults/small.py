"""A small copy of the demo that runs in seconds, with helpers to inspect it and its processes."""

import contextlib
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
from dvc.repo import Repo

from benchmarks.projects import clone, set_parameters
from tasks.common.local_server import LocalServer, free_port, running

SMALL = {
    "seeds": [0, 1],
    "label_budgets": [2, 5],
    "strategies": {"scratch": {}, "fine_tune": {}},
    "label_free": {"source_only": {}},
    "pretrain": {
        "backbone": "convnet_tiny",
        "training": {"steps": 300, "batch_size": 64, "learning_rate": 0.02},
    },
    "finetune": {
        "trained_folds": 1,
        "training": {"steps": 100, "evaluations": 5},
    },
}


def small_project(root: Path) -> Path:
    """A clone with the demo's data, versioned, and nothing run."""
    clone(root)
    set_parameters(root, **SMALL)
    command(root, "data", "demo").check_returncode()
    return root


def command(project: Path, *arguments: str, api: str = "") -> "subprocess.CompletedProcess[str]":
    """Run `graft` in a project and wait for its end."""
    with start(project, *arguments, api=api) as process:
        said, _ = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, said)


def start(project: Path, *arguments: str, api: str = "", out: IO[str] | None = None) -> "subprocess.Popen[str]":
    """Start `graft` in a project, in a session of its own; its output goes to `out`, by default a pipe."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "200", "GRAFT_CHECKPOINT_SECONDS": "0.5"}
    if api:
        environment["PREFECT_API_URL"] = api
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=project,
        env=environment,
        stdout=out or subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@contextmanager
def prefect(folder: Path) -> Iterator[str]:
    """A Prefect server for all runs of a benchmark; yields the address of its API."""
    port = free_port("127.0.0.1", 4600, "benchmark", "")
    arguments = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ui",
    ]
    environment = {"PREFECT_HOME": str(folder), "PREFECT_API_URL": None}
    server = LocalServer("Prefect", arguments, environment, "127.0.0.1", port, "/api/health", folder / "server.log")
    with running(server, lambda _: None):
        yield f"{server.url}/api"


def copy(project: Path, target: Path) -> Path:
    """Copy a project; replaces the target."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(project, target, symlinks=True)
    return target


def processes_in(project: Path) -> list[psutil.Process]:
    """Processes whose working directory is in the project."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(project):
                found.append(process)
    return found


def orphans(project: Path, seconds: float = 10) -> list[str]:
    """Command lines of processes that are left in a project some seconds after its run has ended; kills them."""
    end = time.monotonic() + seconds
    while (left := processes_in(project)) and time.monotonic() < end:
        time.sleep(0.1)
    said = []
    for process in left:
        with contextlib.suppress(psutil.Error):
            said.append(" ".join(process.cmdline()))
            process.send_signal(signal.SIGKILL)
    return said


def result(project: Path) -> dict[str, str]:
    """Hashes of a run's results: dvc.lock, the weights, the metrics and the report."""
    files = [project / "dvc.lock", project / "reports/metrics.json", project / "reports/index.html"]
    files += sorted((project / "build").rglob("*.safetensors"))
    return {str(path.relative_to(project)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def is_clean(project: Path) -> bool:
    """Whether `dvc status` finds nothing to do."""
    with contextlib.chdir(project), Repo(str(project)) as repo:
        return not repo.status()


def doubled_runs(project: Path) -> list[str]:
    """Stage keys that more than one MLflow run has, without deleted runs."""
    with sqlite3.connect(project / ".graft/mlflow/mlflow.db") as database:
        keys = database.execute(
            "select value from tags join runs on runs.run_uuid = tags.run_uuid "
            "where key = 'graft.stage_key' and lifecycle_stage = 'active'"
        )
        return [key for (key,), count in Counter(keys).items() if count > 1]


def answers(url: str) -> bool:
    """Whether a server answers at an address."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
        return True
    return False
