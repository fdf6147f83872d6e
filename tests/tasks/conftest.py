"""One place where stages of sandboxes run, and an empty sandbox."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.executor.warm import LocalRunner
from tests.tasks.dvc_sandbox import Sandbox, new_sandbox


@pytest.fixture(scope="session")
def runner() -> Iterator[LocalRunner]:
    runner = LocalRunner(preload=("json",))
    yield runner
    runner.close()


@pytest.fixture
def empty(tmp_path: Path, runner: LocalRunner) -> Sandbox:
    """A DVC project without stages."""
    return new_sandbox(tmp_path / "project", runner)
