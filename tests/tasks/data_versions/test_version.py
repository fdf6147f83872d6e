"""The first step of a run, on real DVC repositories."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.stage import Stage

from tasks.common.errors import PASSING_FAULT, AwayError, GraftError
from tasks.data_versions.dvc_data import Changes, directory_md5
from tasks.data_versions.version import DataRefused, data_status, version_data, version_demo
from tests.house.imports import ROOT
from tests.tasks.support.dvc_sandbox import dvc


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("versioned")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    dvc(root, "init", "-q")
    for name in ("a", "b/c", "b-d", "ä"):
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_text(name)
    dvc(root, "add", "-q", "data")
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "project", symlinks=True))


def lose(root: Path, *names: str) -> None:
    for name in names:
        shutil.rmtree(root / name)


def refusal(root: Path, **how: bool) -> str:
    with pytest.raises(GraftError) as caught:
        version_data(root, **how)
    return str(caught.value)


def is_clean(root: Path) -> bool:
    return dvc(root, "status").strip() == "Data and pipelines are up to date."


def cached(root: Path, name: str) -> Path:
    """Where DVC's cache keeps a file of data/."""
    md5 = hashlib.md5((root / "data" / name).read_bytes()).hexdigest()
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def test_a_folders_hash_is_dvcs(root: Path) -> None:
    assert f"md5: {directory_md5(root / 'data')}\n" in (root / "data.dvc").read_text()


def test_data_as_recorded_is_unchanged(root: Path) -> None:
    version = version_data(root)
    assert (version.what, version.md5, version.changes) == ("unchanged", directory_md5(root / "data"), Changes())
    assert data_status(root).state == "unchanged"


def test_changed_data_is_refused_with_the_files_and_the_two_ways_out(root: Path) -> None:
    (root / "data/a").unlink()
    (root / "data/a").write_text("other")
    (root / "data/ä").unlink()
    for number in range(7):
        (root / f"data/new{number}").write_text(f"new {number}")
    before = (root / "data.dvc").read_bytes()
    said = refusal(root)
    assert "7 added (data/new0, data/new1, data/new2, data/new3, data/new4 and 2 more)" in said
    assert "1 removed (data/ä)" in said
    assert "1 modified (data/a)" in said
    assert "`graft run --update-data`" in said
    assert "`dvc checkout data.dvc`" in said
    assert (root / "data.dvc").read_bytes() == before
    assert data_status(root).state == "changed"
    assert data_status(root).changes.removed == ("data/ä",)


def test_a_renamed_file_is_one_removed_and_one_added(root: Path) -> None:
    (root / "data/a").rename(root / "data/z")
    assert data_status(root).changes == Changes(added=("data/z",), removed=("data/a",))


def test_changed_data_is_versioned_when_asked(root: Path) -> None:
    (root / "data/new").write_text("new")
    version = version_data(root, update=True)
    assert (version.what, version.changes) == ("updated", Changes(added=("data/new",)))
    assert version.md5 == directory_md5(root / "data")
    assert f"md5: {version.md5}\n" in (root / "data.dvc").read_text()
    assert is_clean(root)
    assert version_data(root, update=True).what == "unchanged"


def test_data_that_was_never_versioned_is_refused_and_versioned_when_asked(root: Path) -> None:
    (root / "data.dvc").unlink()
    assert data_status(root).state == "unversioned"
    assert "Version it with `graft run --update-data`" in refusal(root)
    assert version_data(root, update=True).what == "updated"
    assert is_clean(root)


def test_data_that_is_not_in_the_cache_is_put_there(root: Path) -> None:
    lose(root, ".dvc/cache")
    before = (root / "data.dvc").read_bytes()
    assert data_status(root).state == "not in cache"
    assert version_data(root).what == "committed"
    assert (root / "data.dvc").read_bytes() == before
    lose(root, "data")
    assert version_data(root).what == "restored"


@pytest.mark.parametrize("lost", [".dvc/cache", ".dvc/cache/files/md5"], ids=["cache", "objects"])
def test_changed_data_is_refused_where_the_cache_is_gone_too(root: Path, lost: str) -> None:
    lose(root, lost)
    (root / "data/new").write_text("new")
    before = (root / "data.dvc").read_bytes()
    assert "data/ differs from what data.dvc records" in refusal(root)
    assert data_status(root).state == "changed"
    assert (root / "data.dvc").read_bytes() == before


def test_missing_data_comes_back_from_the_cache(root: Path) -> None:
    lose(root, "data")
    assert data_status(root).state == "missing"
    assert version_data(root).what == "restored"
    assert (root / "data/b/c").read_text() == "b/c"
    assert is_clean(root)


@pytest.mark.parametrize("mode", [0o444, 0o644], ids=["read-only", "writable"])
def test_damaged_files_in_the_cache_are_named_and_never_taken(root: Path, mode: int) -> None:
    file = cached(root, "b/c")
    file.chmod(0o644)
    file.write_text("rot")
    file.chmod(mode)
    lose(root, "data")
    assert "DVC's cache holds damaged files for data.dvc: data/b/c; they were removed from it" in refusal(root)
    assert not (root / "data").exists()
    said = refusal(root)
    assert "DVC's cache does not have the data that data.dvc records: data/b/c missing or damaged" in said
    assert "dvc remote add" in said


class TestDataThatChangesMeanwhile:
    """What arrives after the check has looked is checked too, before data.dvc names it."""

    def test_what_arrives_after_the_check_is_checked_before_it_is_versioned(self, root: Path) -> None:
        (root / "data/new").write_text("new")
        pointer, seen = (root / "data.dvc").read_text(), []

        def check(_md5: str) -> None:
            assert (root / "data.dvc").read_text() == pointer
            seen.append(sorted(path.name for path in (root / "data").iterdir()))
            (root / "data/later").write_text("later")

        version = version_data(root, update=True, check=check)
        assert [("later" in names) for names in seen] == [False, True]
        assert version.md5 == directory_md5(root / "data")
        assert is_clean(root)

    def test_what_arrives_while_it_is_put_into_the_cache_is_checked_too(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (root / "data/new").write_text("new")
        add_outs, seen = Stage.add_outs, []

        def add_and_change(stage: Stage) -> None:
            add_outs(stage)
            (root / "data/new").write_text("newer")

        monkeypatch.setattr(Stage, "add_outs", add_and_change)
        version_data(root, update=True, check=lambda _md5: seen.append((root / "data/new").read_text()))
        assert seen == ["new", "newer"]
        assert f"md5: {directory_md5(root / 'data')}\n" in (root / "data.dvc").read_text()

    def test_what_arrives_and_is_refused_was_never_versioned(self, root: Path) -> None:
        (root / "data/new").write_text("new")
        pointer = (root / "data.dvc").read_text()

        def check(_md5: str) -> None:
            if (root / "data/bad").exists():
                raise DataRefused("data/bad is no image")
            (root / "data/bad").write_text("bad")

        with pytest.raises(DataRefused):
            version_data(root, update=True, check=check)
        assert (root / "data.dvc").read_text() == pointer

    def test_data_that_never_rests_is_an_error_that_may_pass(self, root: Path) -> None:
        (root / "data/new").write_text("new")
        pointer = (root / "data.dvc").read_text()
        with pytest.raises(GraftError, match="attempts to version it") as caught:
            version_data(root, update=True, check=lambda _md5: add_a_letter(root / "data/new"))
        assert caught.value.ends_with == PASSING_FAULT
        assert (root / "data.dvc").read_text() == pointer


def add_a_letter(path: Path) -> None:
    path.write_text(path.read_text() + "x")


# Kills inside of what fills data/


KILLED = """
import os, signal, sys
from pathlib import Path
import tasks.data_versions.version as version
from tasks.data_versions.dvc_data import restore

def interrupted(root: Path) -> None:
    restore(root)
    (root / "data/a").unlink()  # as if it had not come yet
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))

version.restore = interrupted
version.version_data(Path())
"""


@pytest.mark.parametrize("end", ["SIGKILL", "SIGINT"])
@pytest.mark.parametrize("update", [False, True])
def test_data_that_was_left_half_filled_is_fetched_anew_and_never_versioned(root: Path, end: str, update: bool) -> None:
    lose(root, "data")
    pointer = (root / "data.dvc").read_text()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, end], cwd=root, env=environment, check=False, capture_output=True
    )
    assert done.returncode
    assert version_data(root, update=update).what == "restored"
    assert (root / "data/a").read_text() == "a"
    assert (root / "data.dvc").read_text() == pointer
    assert is_clean(root)


def test_another_dvc_process_is_waited_for(root: Path) -> None:
    with Repo(str(root)) as repo:
        repo.lock.lock()
        timer = threading.Timer(4, repo.lock.unlock)  # longer than a dvc command waits
        timer.start()
        assert data_status(root).state == "unchanged"


def test_a_note_of_claims_that_was_left_half_written_is_removed(root: Path) -> None:
    note = root / ".dvc/tmp/rwlock"
    for torn in ('{"read": {"data": [{"pid": 1, "c', ""):
        note.write_text(torn)
        assert data_status(root).state == "unchanged"
    assert not note.exists() or json.loads(note.read_text())


class TestARemote:
    @pytest.fixture
    def store(self, root: Path, tmp_path: Path) -> Path:
        """The default remote; data is there alone."""
        dvc(root, "remote", "add", "-d", "store", str(tmp_path / "store"))
        dvc(root, "push", "-q")
        self.file = tmp_path / "store" / cached(root, "a").relative_to(root / ".dvc/cache")
        lose(root, "data", ".dvc/cache")
        return tmp_path / "store"

    def test_missing_data_is_pulled(self, root: Path, store: Path) -> None:
        lines: list[str] = []
        assert version_data(root, on_line=lines.append).what == "pulled"
        assert lines == ["pulling data/ from the DVC remote 'store'"]
        assert (root / "data/a").read_text() == "a"
        assert is_clean(root)

    @pytest.mark.parametrize("damage", ["rotten", "missing"])
    def test_a_file_that_is_damaged_there_is_named_and_never_taken(self, root: Path, store: Path, damage: str) -> None:
        self.file.chmod(0o644)
        self.file.write_text("rot") if damage == "rotten" else self.file.unlink()
        for _ in range(2):  # the second time nothing of it may pass for good either
            said = refusal(root)
            assert f"the DVC remote 'store' ({store}) does not have" in said
            assert "data/a missing or damaged" in said
            assert not (root / "data").exists()

    def test_a_remote_that_is_gone_is_named(self, root: Path, store: Path) -> None:
        shutil.rmtree(store)
        said = refusal(root)
        assert f"the DVC remote 'store' ({store}) does not have" in said
        assert "`dvc push`" in said

    def test_a_remote_that_does_not_answer_may_do_so_later_and_its_password_is_not_told(
        self, root: Path, store: Path
    ) -> None:
        dvc(root, "remote", "modify", "store", "url", "http://me:hidden@127.0.0.1:9/store")
        with pytest.raises(AwayError) as caught:
            version_data(root)
        assert "http://me:…@127.0.0.1:9/store) does not answer" in str(caught.value)
        assert "hidden" not in str(caught.value)
        assert not (root / "data").exists()

    def test_what_is_damaged_in_the_cache_is_pulled_anew(self, root: Path, store: Path) -> None:
        version_data(root)
        file = cached(root, "b/c")
        for change in (lambda: file.chmod(0o644), lambda: file.write_text("rot"), lambda: file.chmod(0o444)):
            change()
        lose(root, "data")
        assert "data/b/c; they were removed from it" in refusal(root)
        assert version_data(root).what == "pulled"
        assert (root / "data/b/c").read_text() == "b/c"

    def test_what_the_cache_has_needs_no_remote(self, root: Path, store: Path) -> None:
        version_data(root)
        lose(root, "data")
        shutil.rmtree(store)
        assert version_data(root).what == "restored"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no data: neither data/ nor data.dvc"),
        ("outs: []\n", "outs[0].md5 is missing"),
        ("a: [", "not valid YAML"),
        ("- 1\n", "expected a mapping"),
    ],
    ids=["missing", "empty", "torn", "list"],
)
def test_a_pointer_that_cannot_be_read_is_named(root: Path, text: str | None, message: str) -> None:
    lose(root, "data")
    (root / "data.dvc").unlink()
    if text is not None:
        (root / "data.dvc").write_text(text)
    said = refusal(root)
    assert message in said
    assert "data.dvc" in said


def test_a_torn_pointer_beside_data_is_an_error_for_people(root: Path) -> None:
    (root / "data.dvc").write_text("outs: [")
    assert "data.dvc" in refusal(root)
    with pytest.raises(GraftError):
        data_status(root)


def test_a_folder_without_dvc_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0.dir\n  path: data\n")
    assert "not inside of a DVC repository" in refusal(tmp_path)


class TestTheDemo:
    @pytest.fixture
    def clone(self, root: Path) -> Path:
        """The project's own data.dvc, and no data anywhere."""
        lose(root, "data", ".dvc/cache")
        shutil.copy(ROOT / "data.dvc", root / "data.dvc")
        return root

    @pytest.fixture
    def other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A renderer whose fonts or libraries are others."""

        def make_other(folder: Path, _progress: object) -> None:
            folder.mkdir()
            (folder / "a").write_text("not the demo")

        monkeypatch.setattr("tasks.datasets.demo.digits.make_demo", make_other)

    def test_a_fresh_clone_renders_exactly_what_data_dvc_records(self, clone: Path) -> None:
        lines: list[str] = []
        pointer = (clone / "data.dvc").read_bytes()
        assert version_data(clone, on_line=lines.append).what == "made"
        assert lines[-1] == "rendered 12,000 of 12,000 digits"
        assert (clone / "data.dvc").read_bytes() == pointer
        assert is_clean(clone)

    @pytest.mark.usefixtures("other")
    def test_another_hash_is_an_error_and_nothing_is_kept(self, clone: Path) -> None:
        said = refusal(clone)
        (clone / "other").mkdir()
        (clone / "other/a").write_text("not the demo")
        recorded = re.search(r"md5: (\S+)", (clone / "data.dvc").read_text())
        assert recorded
        assert f"has the hash {directory_md5(clone / 'other')}, but data.dvc records {recorded[1]}" in said
        assert all(f"{name} " in said for name in ("Python", "numpy", "matplotlib", "fonttools", "scikit-learn"))
        assert not [path for path in clone.iterdir() if "data" in path.name and path.name != "data.dvc"]
        assert not (clone / ".dvc/cache").exists()

    @pytest.mark.usefixtures("other")
    def test_data_of_ones_own_is_never_replaced_by_the_demo(self, clone: Path) -> None:
        (clone / "data").mkdir()
        (clone / "data/a").write_text("mine")
        version_data(clone, update=True)
        assert "demo:" in (clone / "data.dvc").read_text(), "DVC keeps meta, so it must not be believed blindly"
        lose(clone, "data", ".dvc/cache")
        assert "DVC's cache does not have" in refusal(clone)
        assert not (clone / "data").exists()

    @pytest.mark.usefixtures("other")
    def test_a_project_without_data_gets_a_demo_of_its_own(self, clone: Path) -> None:
        (clone / "data.dvc").unlink()
        made = version_demo(clone)
        assert (made.what, made.md5) == ("made", directory_md5(clone / "data"))
        assert is_clean(clone)
        lose(clone, "data", ".dvc/cache")
        assert version_demo(clone).what == "made"
        assert version_demo(clone).what == "unchanged"

    def test_a_project_with_data_is_not_given_the_demo(self, root: Path) -> None:
        with pytest.raises(GraftError, match=r"data of its own \(data and data\.dvc\)"):
            version_demo(root)
        assert (root / "data/a").read_text() == "a"
