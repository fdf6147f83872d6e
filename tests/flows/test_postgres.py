"""MLflow and Prefect on a real PostgreSQL, as docs/operate.md moves them there."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.prefect_server import persistent_server
from tasks.local_server import running
from tasks.publish import publish
from tests.tasks.mlflow_fixture import new_project

FOUND = shutil.which("initdb") or next(Path("/usr/lib/postgresql").glob("*/bin/initdb"), None)
pytestmark = pytest.mark.skipif(FOUND is None, reason="there is no PostgreSQL here")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own on loopback; `user@host:port`."""
    folder = tmp_path_factory.mktemp("postgres")
    owner = "postgres" if os.geteuid() == 0 else getpass.getuser()  # it refuses to run as root
    if os.geteuid() == 0:
        for place in (folder, *folder.parents[:2]):
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
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"postgresql://{postgres}/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    project = new_project(tmp_path / "project")
    first = publish(project)
    assert not first.recorded.problem
    assert (first.registration.version, first.registration.alias) == ("1", "champion"), first.registration
    runs, metrics = rows(database, "runs"), rows(database, "metrics")
    assert runs == 6
    again = publish(project)
    assert (again.recorded.written, again.registration.created) == (0, False)
    assert (rows(database, "runs"), rows(database, "metrics")) == (runs, metrics)


def test_the_server_of_a_schedule_keeps_its_runs_there(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", f"postgresql+asyncpg://{postgres}/prefect")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    with running(persistent_server(tmp_path, 4400), say=lambda _: None):
        assert rows(f"postgresql://{postgres}/prefect", "flow_run") == 0
    assert not (tmp_path / "prefect/prefect.db").exists()
