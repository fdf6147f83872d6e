"""When a run is due: new data, once it has come to rest; and again, ever later, after a problem that may pass."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.data_versions.watch import LONGEST_WAIT, DataFingerprint, Watch
from tests.house.imports import ROOT
from tests.tasks.support.processes import gone


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data/target/one").mkdir(parents=True)
    (tmp_path / "data/target/one/a.png").write_bytes(b"a")
    (tmp_path / "data.dvc").write_text("outs:\n- md5: x.dir\n  path: data\n")
    return tmp_path


def fingerprint(root: Path) -> str:
    return DataFingerprint(root, lambda _: None).fingerprint()


def begun(settle: float = 5.0) -> Watch:
    watch = Watch(every=1.0, settle=settle)
    assert not settle or not watch.is_due("before", -settle)
    assert watch.is_due("before", 0.0), "what changed while nobody watched"
    watch.ran("before", "before", 10.0, 0)
    return watch


def test_nothing_is_run_while_nothing_changes() -> None:
    watch = begun()
    assert not any(watch.is_due("before", now) for now in range(11, 10_000))


def test_data_that_is_still_being_written_is_waited_for() -> None:
    watch = begun()
    assert not any(watch.is_due(f"file {now}", now) for now in range(11, 30))
    assert [watch.is_due("all", now) for now in (30, 32, 34, 36)] == [False, False, False, True]
    watch.ran("all", "all", 40, 0)
    assert not watch.is_due("all", 50)


def test_data_that_came_and_went_is_no_news() -> None:
    watch = begun()
    assert not watch.is_due("more", 11)
    assert not watch.is_due("before", 12)
    assert not watch.is_due("before", 100)


def test_what_came_while_a_run_worked_is_looked_at_by_another() -> None:
    watch = begun()
    assert [watch.is_due("new", now) for now in (11, 16)] == [False, True]
    watch.ran("new", "newer", 30, 0)
    assert [watch.is_due("newer", now) for now in (31, 35)] == [False, True]
    watch.ran("newer", "newer", 40, 0)
    assert not watch.is_due("newer", 1000)


def test_refused_data_is_not_tried_again_until_it_changes() -> None:
    watch = begun(settle=0.0)
    assert watch.is_due("bad", 11)
    watch.ran("bad", "bad, put back", 12, 2)
    assert not watch.is_due("bad, put back", 1000)
    assert watch.is_due("mended", 1001)


def test_after_a_fault_that_may_pass_the_run_is_due_again_ever_later() -> None:
    watch, now, waits = begun(settle=0.0), 11.0, []
    for _ in range(15):
        assert watch.is_due("new", now)
        watch.ran("new", "new", now, 1)
        waits.append(next(wait for wait in (2.0**k for k in range(1, 20)) if watch.is_due("new", now + wait)))
        now += waits[-1]
    assert waits == sorted(waits)
    assert waits[0] == 2.0
    assert waits[-1] / 2 < LONGEST_WAIT <= waits[-1]


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "data/target/one/b.png").write_bytes(b"b"),
        lambda root: (root / "data/target/one/a.png").unlink(),
        lambda root: (root / "data/target/one/a.png").rename(root / "data/target/a.png"),
        lambda root: (root / "data/target/one/a.png").write_bytes(b"longer"),
        lambda root: os.utime(root / "data/target/one/a.png", ns=(1, 1)),
        lambda root: shutil.rmtree(root / "data"),
        lambda root: (root / "data.dvc").write_text("outs:\n- md5: y.dir\n  path: data\n"),
    ],
)
def test_a_look_sees_every_change(root: Path, change: object) -> None:
    before = fingerprint(root)
    assert fingerprint(root) == before
    change(root)  # type: ignore[operator]
    assert fingerprint(root) != before


def test_a_look_goes_to_the_origin_of_an_import(root: Path, tmp_path: Path) -> None:
    origin = tmp_path / "elsewhere"
    origin.mkdir()
    (root / "data.dvc").write_text(f"deps:\n- path: {origin}\nouts:\n- md5: x.dir\n  path: data\n")
    before = fingerprint(root)
    (origin / "new.png").write_bytes(b"new")
    assert fingerprint(root) != before


WATCHED = """
from pathlib import Path
import tasks.data_versions.watch
tasks.data_versions.watch.RUN = ("sh", "-c", "test -S $GRAFT_WARM_SERVER && exec sleep 1000")
tasks.executor.processes.runner.FORKED = ("json",)
tasks.data_versions.watch.watch(Path(), lambda _: None, every=0.1, settle=0.0)
"""


def test_the_run_and_the_server_for_it_end_when_the_one_that_watches_is_killed(root: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GRAFT_WARM_SERVER": ""}
    with subprocess.Popen([sys.executable, "-c", WATCHED], cwd=root, env=environment) as process:
        children: list[psutil.Process] = []
        while "sleep" not in [child.name() for child in children]:
            children = psutil.Process(process.pid).children()
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert len(children) == 2
    assert gone([child.pid for child in children])
