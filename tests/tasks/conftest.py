"""One place where stages of sandboxes run, and sandboxes: empty, with stages, and run once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo

from tasks.executor.processes.runner import LocalRunner
from tests.tasks.support.dvc_sandbox import Sandbox, new_sandbox


@pytest.fixture(scope="session")
def runner() -> Iterator[LocalRunner]:
    runner = LocalRunner(preload=("json",))
    yield runner
    runner.close()


@pytest.fixture
def empty(tmp_path: Path, runner: LocalRunner) -> Sandbox:
    """A DVC project without stages."""
    return new_sandbox(tmp_path / "project", runner)


@pytest.fixture
def sandbox(empty: Sandbox) -> Sandbox:
    """data.dvc -> prepare -> train@{a,b} -> report; prepare passes on the first letter of its input only."""
    empty.write("data/raw.txt", "abc")
    empty.write("params.yaml", "lr: 0.1\nkinds: [a, b]\n")
    with Repo(str(empty.root)) as repo:
        repo.add(str(empty.root / "data"))
    empty.stages(
        prepare={
            "cmd": "head -c 1 data/raw.txt > prepared.txt; echo prepare >> runs.log",
            "deps": ["data"],
            "outs": ["prepared.txt"],
        },
        train={
            "matrix": {"kind": "${kinds}"},
            "cmd": "python join.py model-${item.kind}.txt prepared.txt && echo ${item.kind} >> runs.log",
            "deps": ["join.py", "prepared.txt"],
            "params": ["lr"],
            "outs": ["model-${item.kind}.txt"],
        },
        report={"cmd": "ls *.txt > report; echo report >> runs.log", "deps": ["model-a.txt"], "outs": ["report"]},
    )
    return empty


@pytest.fixture
def finished(sandbox: Sandbox) -> Sandbox:
    sandbox.run()
    sandbox.runs()
    return sandbox
