"""The units and scripts of deploy/ are what systemd and a restore can use."""

import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.publish import publish
from tests.house.imports import ROOT
from tests.tasks.support.mlflow_fixture import new_project

UNITS = sorted((ROOT / "deploy").glob("*.service"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_no_fault_with_a_unit(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text().replace("/srv/graft/.venv/bin/graft", "/bin/true")
    (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_there_is(unit: Path) -> None:
    start = re.search(r"^ExecStart=\S+/graft (\w+)", unit.read_text(), re.MULTILINE)
    assert start
    command = [sys.executable, "-m", "flows.cli", start[1], "--help"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_a_backup_holds_databases_that_are_in_use_and_is_renewed(tmp_path: Path) -> None:
    project, target = tmp_path / "project", tmp_path / "backup"
    (project / ".graft/mlflow/artifacts/1").mkdir(parents=True)
    (project / ".dvc/cache/files/md5/aa").mkdir(parents=True)
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/python").symlink_to(sys.executable)
    (project / ".dvc/cache/files/md5/aa/b").write_text("cached")
    database = sqlite3.connect(project / ".graft/mlflow/mlflow.db")
    database.execute("pragma journal_mode=wal")
    database.execute("create table runs (name)")
    for name in ("first", "second"):
        database.execute("insert into runs values (?)", [name])
        database.commit()  # into the write-ahead log: a copy of the file alone would miss it
        (project / ".graft/mlflow/artifacts/1" / name).write_text(name)
        command = ["bash", str(ROOT / "deploy/backup.sh"), str(project), str(target)]
        subprocess.run(command, check=True, capture_output=True)
    database.close()
    cached = target / ".dvc/cache/files/md5/aa/b"
    cached.write_text("ca")  # as an interrupted copy leaves it
    (project / ".graft/mlflow/artifacts/1/first").write_text("renewed")
    (project / "dvc.lock").write_text("lock")
    (project / ".graft/unrecorded/key").mkdir(parents=True)
    (project / ".graft/unrecorded/key/dvc.lock").write_text("waits")
    subprocess.run(command, check=True, capture_output=True)
    assert (target / ".graft/mlflow/artifacts/1/first").read_text() == "renewed"
    assert (target / "dvc.lock").read_text() == "lock"
    assert (target / ".graft/unrecorded/key/dvc.lock").read_text() == "waits"
    restored = sqlite3.connect(target / ".graft/mlflow/mlflow.db")
    assert restored.execute("select name from runs").fetchall() == [("first",), ("second",)]
    assert (target / ".graft/mlflow/artifacts/1/second").read_text() == "second"
    assert (target / ".dvc/cache/files/md5/aa/b").read_text() == "cached"


def test_mlflow_s_database_is_still_ours_after_its_upgrade(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    assert publish(project).recorded.written
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", "sqlite:///.graft/mlflow/mlflow.db"]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    again = publish(project)
    assert (again.recorded.written, again.registration.created) == (0, False)
