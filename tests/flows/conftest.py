"""One Prefect server for the session, one server that commands attach to, and one project that has been run once."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.common.local_server import LocalServer, free_port, running
from tasks.executor.processes.runner import shared_by_runs
from tests.flows.project import Project


@pytest.fixture(scope="session")
def warm_server() -> Iterator[None]:
    """The libraries, imported once for all commands that the tests start."""
    with shared_by_runs():
        yield


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory, warm_server: None) -> Iterator[str]:
    home = tmp_path_factory.mktemp("prefect")
    port = free_port("127.0.0.1", 4500 + os.getpid() % 1000, "tests", "")
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {"PREFECT_HOME": str(home)}
    server = LocalServer("Prefect", command, environment, "127.0.0.1", port, "/api/health", home / "server.log")
    with pytest.MonkeyPatch.context() as patient:
        patient.setattr("tasks.common.local_server.START_SECONDS", 600)  # the machine may be busy with other tests
        with running(server, lambda _: None):
            yield f"{server.url}/api"


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
