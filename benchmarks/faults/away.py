"""MLflow unavailable during a whole run, and available afterwards: every metric of every step is recorded, once.

    python -m benchmarks.faults.away

A small demo runs while its MLflow server is down; then the server is started (on a real database) and `graft sync` is
called twice. It is compared with the same project, run while the server is up.
Expected: the run ends with 0 and takes about the same time, and afterwards both servers hold the same runs, metrics of
all steps, parameters and versions.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks.faults.small import command, copy, prefect, small_project
from tasks.common.local_server import LocalServer, free_port, running

QUERIES = {
    "metrics of steps": "select t.value, m.key, m.step, m.value from metrics m join tags t on t.run_uuid = m.run_uuid "
    "join runs r on r.run_uuid = m.run_uuid where t.key = 'graft.stage_key' and r.lifecycle_stage = 'active'",
    "parameters": "select t.value, p.key, p.value from params p join tags t on t.run_uuid = p.run_uuid "
    "join runs r on r.run_uuid = p.run_uuid where t.key = 'graft.stage_key' and r.lifecycle_stage = 'active'",
    "runs": "select t.value, r.status from runs r join tags t on t.run_uuid = r.run_uuid "
    "where t.key = 'graft.stage_key' and r.lifecycle_stage = 'active'",
    "versions": "select name, version from model_versions",
}


def main() -> None:
    """Run both, compare the contents of their servers, and exit with 1 if they differ."""
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as name, prefect(Path(name, "prefect")) as api:
        pristine = small_project(Path(name, "pristine"))
        held, seconds = {}, {}
        for kind in ("there", "away"):
            project = copy(pristine, Path(name, kind))
            server = _server(Path(name), kind)
            os.environ["MLFLOW_TRACKING_URI"] = server.url
            if kind == "there":
                with running(server, lambda _: None):
                    seconds[kind] = _run(project, api)
            else:
                seconds[kind] = _run(project, api)
                with running(server, lambda _: None):
                    for _ in range(2):
                        command(project, "sync").check_returncode()
            held[kind] = dict(_held(Path(name, f"{kind}.db")))
    equal = held["there"] == held["away"]
    for what, rows in held["there"].items():
        console.print(
            f"{what}: {len(rows)} with MLflow up, {len(held['away'][what])} with MLflow down", highlight=False
        )
    console.print(f"seconds: {seconds['there']:.0f} up, {seconds['away']:.0f} down", highlight=False)
    console.print("the same" if equal else "NOT THE SAME")
    sys.exit(0 if equal else 1)


def _run(project: Path, api: str) -> float:
    begin = time.monotonic()
    done = command(project, "run", api=api)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout)
    return time.monotonic() - begin


def _server(folder: Path, kind: str) -> LocalServer:
    port = free_port("127.0.0.1", 5600, "benchmark", "")
    arguments = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--backend-store-uri", f"sqlite:///{folder}/{kind}.db"]
    arguments += ["--artifacts-destination", f"{folder}/{kind}"]
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_TRACKING_URI": None}
    return LocalServer("MLflow", arguments, environment, "127.0.0.1", port, "/health", folder / f"{kind}.log")


def _held(database: Path) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    with _opened(database) as connection:
        for what, query in QUERIES.items():
            yield what, sorted(connection.execute(query).fetchall())


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(database)
    try:
        yield connection
    finally:
        connection.close()


if __name__ == "__main__":
    main()
