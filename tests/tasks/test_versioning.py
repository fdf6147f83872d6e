"""The first step of a run, on real DVC repositories."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import GraftError
from tasks.folder_hash import folder_md5
from tasks.versioning import data_status, version_data


def dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("versioned")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    dvc(root, "init", "-q")
    for name in ("a", "b/c"):
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_text(name)
    dvc(root, "add", "-q", "data")
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "project", symlinks=True))


def refusal(root: Path, **how: bool) -> str:
    with pytest.raises(GraftError) as caught:
        version_data(root, **how)
    return str(caught.value)


def test_a_folders_hash_is_dvcs(root: Path) -> None:
    assert f"md5: {folder_md5(root / 'data')}\n" in (root / "data.dvc").read_text()


def test_data_that_are_as_named_are_unchanged(root: Path) -> None:
    version = version_data(root)
    assert version.what == "unchanged"
    assert version.md5 == folder_md5(root / "data")
    assert str(version).startswith("data unchanged (")
    assert data_status(root).startswith("unchanged")


def test_data_that_changed_in_place_are_refused_and_the_files_named(root: Path) -> None:
    (root / "data/a").unlink()
    (root / "data/a").write_text("other")
    (root / "data/new").write_text("new")
    before = (root / "data.dvc").read_text()
    said = refusal(root)
    assert "1 added (data/new)" in said
    assert "1 modified (data/a)" in said
    assert "graft run --update-data" in said
    assert "dvc checkout --force data.dvc" in said
    assert (root / "data.dvc").read_text() == before
    assert data_status(root).startswith("changed since")


def test_changed_data_are_versioned_when_asked(root: Path) -> None:
    (root / "data/new").write_text("new")
    version = version_data(root, update=True)
    assert version.what == "updated"
    assert "1 added (data/new)" in str(version)
    assert version.md5 == folder_md5(root / "data")
    assert f"md5: {version.md5}\n" in (root / "data.dvc").read_text()
    assert dvc(root, "status").strip() == "Data and pipelines are up to date."


def test_missing_data_come_back_from_the_cache(root: Path) -> None:
    shutil.rmtree(root / "data")
    assert data_status(root).startswith("missing")
    assert version_data(root).what == "restored"
    assert (root / "data/b/c").read_text() == "b/c"


def test_missing_data_are_pulled_where_there_is_a_remote(root: Path, tmp_path: Path) -> None:
    dvc(root, "remote", "add", "-d", "store", str(tmp_path / "store"))
    dvc(root, "push", "-q")
    for lost in ("data", ".dvc/cache"):
        shutil.rmtree(root / lost)
    assert version_data(root).what == "pulled"
    assert (root / "data/a").read_text() == "a"


def test_a_remote_that_is_broken_is_named(root: Path, tmp_path: Path) -> None:
    dvc(root, "remote", "add", "-d", "store", str(tmp_path / "gone"))
    for lost in ("data", ".dvc/cache"):
        shutil.rmtree(root / lost)
    said = refusal(root)
    assert "cannot be pulled from DVC remote 'store'" in said
    assert "dvc remote list" in said
    assert not (root / "data").exists()


def test_data_that_can_be_had_from_nowhere_are_said_so(root: Path) -> None:
    for lost in ("data", ".dvc/cache"):
        shutil.rmtree(root / lost)
    assert "there is no DVC remote to pull it from" in refusal(root)


def test_data_that_are_not_in_the_cache_yet_are_put_there(root: Path) -> None:
    shutil.rmtree(root / ".dvc/cache")
    assert version_data(root).what == "unchanged"
    shutil.rmtree(root / "data")
    assert version_data(root).what == "restored"


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "there is no such file"), ("outs: []\n", "is damaged"), ("a: [", "is damaged"), ("- 1\n", "is damaged")],
)
def test_a_pointer_that_cannot_be_read_is_named(root: Path, text: str | None, message: str) -> None:
    (root / "data.dvc").unlink()
    if text is not None:
        (root / "data.dvc").write_text(text)
    said = refusal(root)
    assert message in said
    assert "data.dvc" in said


class TestTheDemo:
    @pytest.fixture
    def clone(self, root: Path) -> Path:
        """The project's own data.dvc, and no data anywhere."""
        from tests.house.imports import ROOT

        for lost in ("data", ".dvc/cache"):
            shutil.rmtree(root / lost)
        shutil.copy(ROOT / "data.dvc", root / "data.dvc")
        return root

    def test_a_fresh_clone_renders_exactly_what_data_dvc_names(self, clone: Path) -> None:
        lines: list[str] = []
        pointer = (clone / "data.dvc").read_bytes()
        assert version_data(clone, on_line=lines.append).what == "made"
        assert lines
        assert (clone / "data.dvc").read_bytes() == pointer
        assert dvc(clone, "status").strip() == "Data and pipelines are up to date."

    def test_another_hash_is_an_error_and_nothing_is_kept(self, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def make_other(folder: Path, _progress: object) -> None:
            folder.mkdir()
            (folder / "a").write_text("not the demo")

        monkeypatch.setattr("tasks.demo.make_demo", make_other)  # another font or library is not at hand
        said = refusal(clone)
        assert "are not those that data.dvc names" in said
        assert "matplotlib" in said
        assert not [path for path in clone.iterdir() if "data" in path.name and path.name != "data.dvc"]
        assert not (clone / ".dvc/cache").exists()
