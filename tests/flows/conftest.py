"""One Prefect server for the session, and one project that has been run once."""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.project import Project


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = _free_port()
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect"))}
    command = [
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
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/api"
    try:
        for _ in range(480):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=1)
                break
            except OSError:
                assert server.poll() is None, "the Prefect server ended"
                time.sleep(0.25)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> tuple[Project, str]:
    """A project after its first `graft run`, and what that printed."""
    home = tmp_path_factory.mktemp("home")
    project = Project.create(tmp_path_factory.mktemp("first"))
    result = project.graft("run", env={"PREFECT_API_URL": prefect_api, "HOME": str(home)})
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted(path.relative_to(home) for path in home.rglob("*")) == [], "something was written to the home folder"
    return project, result.stdout


@pytest.fixture
def project(finished: tuple[Project, str], tmp_path: Path) -> Project:
    """A copy of the finished project, to change; MLflow's files name their folder, so they do not move along."""
    shutil.copytree(finished[0].root, tmp_path / "copy", symlinks=True, ignore=shutil.ignore_patterns("mlflow"))
    return Project(tmp_path / "copy")
