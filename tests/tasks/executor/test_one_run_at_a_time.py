"""Two runs in one repository: one works, the other waits or says so, and nothing is left behind by a crash."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.common.errors import GraftError
from tasks.executor.one_run_at_a_time import Busy, turn
from tests.house.imports import ROOT

HOLD = """
import sys, time
from pathlib import Path
from tasks.executor.one_run_at_a_time import turn
with turn(Path(sys.argv[1])):
    Path(sys.argv[1], "held").touch()
    while not Path(sys.argv[1], "go").exists():
        time.sleep(0.01)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / ".dvc").mkdir()
    return tmp_path


@pytest.fixture
def holder(repository: Path) -> subprocess.Popen[bytes]:
    """Another process that has its turn until there is a file `go`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(repository)], cwd=ROOT)
    while not (repository / "held").exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


def test_the_second_is_told_who_works_there(repository: Path, holder: subprocess.Popen[bytes]) -> None:
    with (
        pytest.raises(Busy, match=f"another run works in this repository: process {holder.pid} "),
        turn(repository / "deep/inside", if_busy="fail"),
    ):
        pass
    holder.kill()
    holder.wait()


def test_or_waits_for_its_end(
    repository: Path, holder: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    second = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(repository)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert second.stderr is not None
    assert f"waiting for another run in this repository: process {holder.pid}" in second.stderr.readline()
    assert second.poll() is None
    (repository / "go").touch()
    assert (holder.wait(10), second.wait(10)) == (0, 0)


def test_a_crash_leaves_no_lock(repository: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with turn(repository, if_busy="fail"):
        pass
    with turn(repository, if_busy="fail"):  # and again
        pass


def test_turns_may_be_nested_and_end_with_the_outermost(repository: Path) -> None:
    attempt = "import sys; from pathlib import Path; from tasks.executor.one_run_at_a_time import turn\n"
    attempt += "with turn(Path(sys.argv[1]), 'fail'): pass"
    command = [sys.executable, "-c", attempt, str(repository)]
    with turn(repository):
        with turn(repository):
            pass
        assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 1
    subprocess.run(command, cwd=ROOT, check=True)


def test_it_takes_a_repository(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="no DVC repository here or above"), turn(tmp_path / "none"):
        pass
