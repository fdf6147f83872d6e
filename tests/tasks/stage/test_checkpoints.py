"""A stage that was killed in mid-training goes on from its checkpoint, and ends with the same bytes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from graft.networks.network import Description, Network
from tasks.artifacts.networks import save_network
from tasks.executor.processes.runner import LocalRunner
from tasks.stage.checkpoint_folders import FOLDER, prune
from tasks.stage.checkpoints import CheckpointFile, StageCheckpoints
from tasks.stage.key import stage_keys
from tests.house.imports import ROOT
from tests.tasks.support.dvc_sandbox import Sandbox, new_sandbox
from tests.tasks.support.evaluation_fixture import SIZE, make_project

COMMAND = [sys.executable, "-m", "tasks.finetune", "--strategy", "fine_tune", "--labels", "4", "--seed", "1"]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Sandbox]:
    runner = LocalRunner(preload=())
    yield new_sandbox(tmp_path / "project", runner)
    runner.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose trial takes a while."""
    folder = make_project(tmp_path, steps={}, budgets=(4,))
    torch.manual_seed(0)
    save_network(folder / "build/pretrained", Network(Description("convnet_tiny", ("ant", "bee", "cat"), 1, SIZE)))
    content = yaml.safe_load((folder / "params.yaml").read_text())
    training = {"steps": 300, "batch_size": 8, "evaluations": 10, "augmentation": {"crop": 1}}
    content |= {
        "strategies": {"scratch": {}, "fine_tune": {}},
        "finetune": {"training": training},
        "tune": {"trials": 2},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    return folder


def start(project: Path, key: str, seconds: str = "0") -> subprocess.Popen[str]:
    variables = {"GRAFT_STAGE_KEY": key, "GRAFT_CHECKPOINT_SECONDS": seconds, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(COMMAND, cwd=project, env=os.environ | variables, stdout=subprocess.PIPE, text=True)


def files(project: Path) -> dict[str, bytes]:
    folder = project / "build/trials/fine_tune-4-1"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
def test_a_trial_killed_twice_ends_with_the_same_bytes(project: Path) -> None:
    undisturbed = start(project, "one", seconds="1000")
    undisturbed.communicate(timeout=120)
    expected = files(project)
    shutil.rmtree(project / "build/trials")
    for number in ("1.pt", "2.pt"):  # once in each of the search's two trainings
        killed = start(project, "two")
        while not (project / FOLDER / "two" / number).exists():
            assert killed.poll() is None
            time.sleep(0.005)
        killed.kill()
        killed.communicate()
        assert not (project / "build/trials/fine_tune-4-1").exists(), "no half-made trial"
    said, _ = start(project, "two").communicate(timeout=120)
    assert said.count("resuming after step ") == 2
    assert f"resuming after step 300, from {FOLDER}/two/1.pt" in said, "what had ended is not trained again"
    assert files(project) == expected


def test_a_damaged_checkpoint_is_no_obstacle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = CheckpointFile(tmp_path / "1.pt", seconds=0)
    checkpoints.save({"step": 3, "weights": torch.ones(2)})
    loaded = checkpoints.load()
    assert loaded is not None
    assert loaded["step"] == 3
    content = (tmp_path / "1.pt").read_bytes()
    (tmp_path / "1.pt").write_bytes(content[: len(content) // 2])
    assert checkpoints.load() is None
    assert "the training starts from scratch" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["1.pt"]


def test_they_are_due_by_the_clock_and_at_the_end_only_if_more_is_to_come(tmp_path: Path) -> None:
    often, never = CheckpointFile(tmp_path / "1.pt", seconds=0), CheckpointFile(tmp_path / "1.pt", seconds=1e9)
    assert often.due(1, 10)
    assert not often.due(10, 10)
    assert not never.due(1, 10)
    assert CheckpointFile(tmp_path / "1.pt", seconds=1e9, keep_last=True).due(10, 10)


def test_without_a_key_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints = StageCheckpoints(None).next_training()
    assert not checkpoints.due(1, 2)
    assert checkpoints.load() is None


def test_a_stage_is_told_the_key_that_its_result_will_have(empty: Sandbox) -> None:
    empty.write("in.txt", "a")
    empty.write("params.yaml", "rate: 0.5\nnested: {deep: [1, 2]}\n")
    stage: dict[str, Any] = {"cmd": "echo $GRAFT_STAGE_KEY > key.txt", "deps": ["in.txt"], "outs": ["key.txt"]}
    empty.stages(one=stage | {"params": ["rate", "nested"]})
    empty.run()
    assert empty.read("key.txt").strip() == stage_keys(empty.root / "dvc.lock")["one"]


def test_checkpoints_of_what_is_done_go(empty: Sandbox) -> None:
    empty.stages(one={"cmd": "echo 1 > out.txt", "outs": ["out.txt"]})
    empty.run()
    done = empty.root / FOLDER / stage_keys(empty.root / "dvc.lock")["one"]
    other, old = done.with_name("other"), done.with_name("old")
    for folder in (done, other, old):
        folder.mkdir(parents=True)
        (folder / "1.pt").write_bytes(b"")
    os.utime(old, (0, 0))
    prune(empty.root)
    assert [path.name for path in done.parent.iterdir()] == ["other"]
