"""How a stage's process ends: the exit code says what the executor may do about it, the words what a person may."""

import errno
import os
import subprocess
import sys
from urllib.error import HTTPError, URLError

import pytest

from tasks.common.errors import AwayError, GraftError
from tasks.stage.process import run_stage
from tests.house.imports import ROOT

SHORT = """
import resource
import torch
from tasks.stage.process import run_stage
def work():
    now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 2**28, now + 2**28))
    torch.ones(2**30)
run_stage(work)
"""


def fail(error: Exception) -> None:
    def work() -> None:
        raise error

    run_stage(work)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (GraftError("params.yaml: seeds: 'x'", "Give a number."), 2, "params.yaml: seeds: 'x'\nGive a number."),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), 75, "Connection reset by peer"),
        (URLError(TimeoutError("timed out")), 75, "timed out"),
        (AwayError("the weights do not arrive: 503", "Fetch them elsewhere."), 75, "arrive: 503\nFetch them"),
        (OSError(errno.ENOSPC, "No space left on device", "build/x.npy"), 2, "'build/x.npy'\nThe disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "build"), 2, "'build'\nGive this user permission"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 2, "The disk is full"),
        (MemoryError("cannot allocate"), 71, "cannot allocate"),
    ],
)
def test_a_known_fault_ends_with_words_and_its_exit_code(
    error: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        fail(error)
    assert caught.value.code == code
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(SystemExit):
        fail(error)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyError("a mistake"), HTTPError("u", 404, "Not Found", None, None)])  # type: ignore[arg-type]
def test_a_mistake_shows_its_trace(error: Exception) -> None:
    with pytest.raises(type(error)):
        fail(error)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit of the address space")
def test_a_machine_without_memory_left_is_known_by_torch_s_words() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SHORT], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 71, done.stderr
    assert "allocate" in done.stderr
    assert "Traceback" not in done.stderr
