"""`graft repro` in a DVC project that has nothing else of Graft's."""

import subprocess
import sys
from pathlib import Path

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


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    return tmp_path


def graft(folder: Path, *arguments: str) -> tuple[int, str]:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from flows.cli import app; app()"
    command = [sys.executable, "-c", program, "repro", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


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
    }, "nothing else is written into somebody's project"

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
