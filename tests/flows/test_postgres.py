"""MLflow and Prefect on a real PostgreSQL, as docs/how-to/operate.md moves them there."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest
from dvc.repo import Repo

from flows.prefect_server import persistent_server
from tasks.common.local_server import running
from tests.house.imports import ROOT
from tests.tasks.support.mlflow_fixture import new_project

FOUND = shutil.which("initdb") or next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOUND is None, reason="there is no PostgreSQL here"),
]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own on loopback; `user@host:port`."""
    folder = tmp_path_factory.mktemp("postgres")
    owner = "postgres" if os.geteuid() == 0 else getpass.getuser()  # it refuses to run as root
    if os.geteuid() == 0:
        for place in takewhile(lambda path: path != Path(tempfile.gettempdir()), (folder, *folder.parents)):
            place.chmod(0o755)
        shutil.chown(folder, owner)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    binaries = Path(str(FOUND)).resolve().parent
    how = {"user": owner if os.geteuid() == 0 else None, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([binaries / "initdb", "-D", folder / "db", "-U", "graft", "-A", "trust"], check=True, **how)
    command = [binaries / "postgres", "-D", folder / "db", "-h", "127.0.0.1", "-p", str(port), "-k", folder]
    server = subprocess.Popen(command, **how)
    try:
        for _ in range(100):
            if subprocess.run([binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port)], **how).returncode == 0:
                break
            time.sleep(0.1)
        for name in ("mlflow", "prefect"):
            asked = ["createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "graft", name]
            subprocess.run([binaries / asked[0], *asked[1:]], check=True, **how)
        yield f"graft@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)  # SIGTERM would wait for the clients to go
        server.wait(30)


def rows(database: str, table: str) -> int:
    import psycopg2

    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(f"select count(*) from {table}")
        return int(cursor.fetchone()[0])


def test_mlflow_is_filled_from_the_stages_files_and_a_second_time_changes_nothing(
    postgres: str, tmp_path: Path
) -> None:
    database = f"postgresql://{postgres}/mlflow"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": database, "PYTHONPATH": str(ROOT)}
    project = new_project(tmp_path / "project")
    Repo.init(str(project), no_scm=True).close()

    def sync() -> str:
        command = [sys.executable, "-m", "flows.cli", "sync"]
        done = subprocess.run(command, cwd=project, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "version 1 (registered now): champion" in sync()
    runs, metrics = rows(database, "runs"), rows(database, "metrics")
    assert runs == 6
    again = sync()
    assert "all 6 runs were recorded before" in again
    assert "version 1 (was registered before): champion" in again
    assert (rows(database, "runs"), rows(database, "metrics")) == (runs, metrics)


RUN = """
from prefect import flow
flow(lambda: None, name="nothing")()
"""


def test_the_server_of_a_schedule_keeps_its_runs_there_and_a_dump_brings_them_back(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"postgresql://{postgres}/prefect"
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", f"postgresql+asyncpg://{postgres}/prefect")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    with running(server := persistent_server(tmp_path, 4400), say=lambda _: None):
        environment = {**os.environ, "PREFECT_API_URL": f"{server.url}/api"}
        subprocess.run([sys.executable, "-c", RUN], env=environment, check=True, capture_output=True)
    assert rows(database, "flow_run") == 1
    assert not (tmp_path / "prefect/prefect.db").exists()

    dump = tmp_path / "prefect.dump"
    subprocess.run(["pg_dump", "--format=custom", f"--file={dump}", database], check=True, capture_output=True)
    subprocess.run(["createdb", "--maintenance-db", database, "again"], check=True, capture_output=True)
    restored = database.replace("/prefect", "/again")
    subprocess.run(["pg_restore", f"--dbname={restored}", dump], check=True, capture_output=True)
    assert rows(restored, "flow_run") == 1
