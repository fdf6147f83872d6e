"""`graft repro` in a DVC project that has nothing else of Graft's."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.house.imports import ROOT

STAGES = {
    "first": {"cmd": "echo hello && echo 1 > first.txt", "outs": ["first.txt"]},
    "each": {
        "foreach": [1, 2],
        "do": {"cmd": "cp first.txt each${item}.txt", "deps": ["first.txt"], "outs": ["each${item}.txt"]},
    },
    "bad": {"cmd": "exit 3", "deps": ["first.txt"], "outs": ["bad.txt"]},
    "last": {"cmd": "cat each1.txt each2.txt > last.txt", "deps": ["each1.txt", "each2.txt"], "outs": ["last.txt"]},
}


def make_repository(folder: Path, stages: dict[str, Any]) -> Path:
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True)
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path, STAGES)


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A run in the repository `tmp_path`; `slow` waits for a file `go`, `quick` reads what that writes."""
    slow = "echo ran >> runs.log; echo half > slow.txt; while ! test -e go; do sleep 0.02; done; echo whole > slow.txt"
    stages = {
        "slow": {"cmd": slow, "outs": ["slow.txt"]},
        "quick": {"cmd": "cp slow.txt quick.txt", "deps": ["slow.txt"], "outs": ["quick.txt"]},
    }
    make_repository(tmp_path, stages)
    with start(tmp_path) as process:
        while not (tmp_path / "slow.txt").exists():
            assert process.poll() is None
            time.sleep(0.02)
        yield process
        (tmp_path / "go").touch()


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from flows.cli import app; app()"
    command = [sys.executable, "-c", program, "repro", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def graft(folder: Path, *arguments: str) -> tuple[int, str]:
    with start(folder, *arguments) as process:
        said, _ = process.communicate()
    return process.returncode, said


def test_targets_are_made_once_and_dvc_agrees(repository: Path) -> None:
    code, said = graft(repository, "--dry", "last")
    assert code == 0
    assert "Stages: 4 to run." in said
    assert not (repository / "first.txt").exists()

    code, said = graft(repository, "last", "--jobs", "2")
    assert code == 0, said
    assert "first | hello" in said
    assert "Stages: 4 run." in said
    assert (repository / "last.txt").read_text() == "1\n1\n"
    assert not (repository / "bad.txt").exists()
    assert {path.name for path in repository.iterdir()} == {
        *(".dvc", ".dvcignore", ".git", ".gitignore", "dvc.lock", "dvc.yaml"),
        *("first.txt", "each1.txt", "each2.txt", "last.txt"),
    }, "nothing else is written into someone's project"

    assert "Nothing to do." in graft(repository, "last")[1]
    status = [sys.executable, "-m", "dvc", "status", "last"]
    assert "up to date" in subprocess.run(status, cwd=repository, capture_output=True, text=True, check=True).stdout


def test_a_failure_stops_only_what_depends_on_it_if_asked_to_keep_going(repository: Path) -> None:
    code, said = graft(repository, "--keep-going")
    assert code == 1
    assert "stage bad failed with exit code 3: exit 3" in said
    assert (repository / "last.txt").exists()


def test_faults_end_with_words(tmp_path: Path, repository: Path) -> None:
    code, said = graft(repository, "lst")
    assert code == 2
    assert "There is no stage 'lst'" in said
    assert "first" in said
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    code, said = graft(outside)
    assert code == 2
    assert "DVC repository" in said
    assert "Traceback" not in said


def test_beside_another_run_it_waits_and_then_finds_nothing_to_do(
    tmp_path: Path, at_work: "subprocess.Popen[str]"
) -> None:
    with start(tmp_path) as second:
        assert second.stdout is not None
        assert f"waiting for another run in this repository: process {at_work.pid}" in second.stdout.readline()
        assert second.poll() is None
        (tmp_path / "go").touch()
        said, _ = second.communicate()
    assert (second.returncode, at_work.wait()) == (0, 0)
    assert "Nothing to do." in said
    assert (tmp_path / "runs.log").read_text() == "ran\n"


@pytest.mark.parametrize(("if_busy", "code"), [("skip", 0), ("fail", 1)])
def test_or_it_says_who_works_there(tmp_path: Path, at_work: "subprocess.Popen[str]", if_busy: str, code: int) -> None:
    ended, said = graft(tmp_path, "--if-busy", if_busy)
    assert ended == code
    assert f"another run works in this repository: process {at_work.pid}" in said


def test_a_look_beside_another_run_says_what_runs_and_judges_nothing_that_is_half_written(
    tmp_path: Path, at_work: "subprocess.Popen[str]"
) -> None:
    code, said = graft(tmp_path, "--dry")
    assert code == 0, said
    slow, quick, summary = said.splitlines()
    assert slow.startswith(f"slow   ▶ runs now    slow.txt is being written by process {at_work.pid}")
    assert quick.startswith("quick  · may follow  slow.txt is being written by")
    assert summary == "Stages: 1 run by another process, 1 that may follow."
