"""A disk that is full, or that cannot be written: the words name the file and what fixes it, and nothing is broken."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.common.errors import GraftError, in_words
from tasks.data_versions.dvc_data import commit, compare, present_md5
from tasks.executor.processes.runner import LocalRunner
from tasks.publish import publish
from tasks.tracking.record import record
from tests.tasks.support.dvc_sandbox import Sandbox, new_sandbox
from tests.tasks.support.mlflow_fixture import assert_mirrored, new_project

MIB = 2**20
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small file system"
)


@contextmanager
def file_system(place: Path, megabytes: int) -> Iterator[None]:
    """A file system of that size at `place`."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def small(tmp_path: Path, runner: LocalRunner) -> Iterator[Sandbox]:
    """A project on a file system of six megabytes."""
    with file_system(tmp_path / "small", 6):
        yield new_sandbox(tmp_path / "small/project", runner)


def fill(sandbox: Sandbox, leave: int) -> Path:
    """Fill the file system but for so many bytes."""
    filler = sandbox.root.parent / "filler"
    free = shutil.disk_usage(sandbox.root).free
    filler.write_bytes(b"x" * max(0, free - leave))
    return filler


def test_a_project_that_cannot_be_written_is_told_so(small: Sandbox) -> None:
    (small.root / "data").mkdir()
    (small.root / "data/one.txt").write_text("one")
    assert commit(small.root, present_md5(small.root))
    place = str(small.root.parent)
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    for look in (lambda: compare(small.root), small.status, small.run):
        with pytest.raises((GraftError, OSError)) as caught:
            look()
        said = in_words(caught.value)
        assert "Read-only file system" in said
        assert "mount it writable" in said


@pytest.mark.parametrize("leave", [0, 4096, 300_000, 1_300_000])
def test_a_full_disk_is_named_and_the_next_run_goes_on(small: Sandbox, leave: int) -> None:
    """Wherever it happens: the command's output, DVC's cache, its databases, dvc.lock."""
    make = "head -c 1000000 /dev/zero > {0} || exit 2"
    small.stages(
        one={"cmd": make.format("one.bin"), "outs": ["one.bin"]},
        two={"cmd": make.format("two.bin"), "deps": ["one.bin"], "outs": ["two.bin"]},
    )
    filler = fill(small, leave)
    with pytest.raises((GraftError, OSError)) as caught:
        small.run()
    said = in_words(caught.value)
    assert said.count("The disk is full: free some space (`dvc gc") == 1, said
    assert str(small.root) in said or "> one.bin" in said or "> two.bin" in said, "where"
    filler.unlink()
    assert set(small.run().values()) <= {"ran", "up_to_date", "restored"}
    assert small.status() == {}


@pytest.mark.parametrize("leave", [0, 300_000, 1_000_000])
def test_where_mlflow_s_disk_is_full_that_is_said_and_the_record_is_written_later_and_once(
    tmp_path: Path, leave: int
) -> None:
    project = new_project(tmp_path / "project")
    place = project / ".graft/mlflow"
    shutil.rmtree(place, ignore_errors=True)
    with file_system(place, 20):
        filler = place / "filler"
        filler.write_bytes(b"x" * (shutil.disk_usage(place).free - leave))
        try:
            published = publish(project)
            said = published.recorded.problem + published.registration.problem
        except OSError as error:  # not even that can be written
            said = in_words(error)
        assert "The disk is full" in said
        filler.unlink()
        assert not (again := publish(project)).recorded.problem
        assert (again.registration.problem, again.registration.version) == ("", "1")
        assert_mirrored(project)


def test_a_record_that_cannot_even_be_kept_for_later_fails_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    project = new_project(tmp_path / "project")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with file_system(project / ".graft/unrecorded", 1):
        filler = project / ".graft/unrecorded/.filler"
        filler.write_bytes(b"x" * shutil.disk_usage(filler.parent).free)
        assert "does not answer" in record(project).problem
        assert "cannot be saved to be recorded in MLflow later" in caplog.text
        assert "The disk is full" in caplog.text
