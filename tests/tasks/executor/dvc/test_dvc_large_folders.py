"""Folders that DVC is not asked about again: never another answer than its own."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import dvc.output
import pytest
from dvc.repo import Repo

from tasks.data_versions.dvc_data import Changes, compare
from tasks.executor.dvc import dvc_large_folders
from tasks.executor.dvc.dvc_project import Project
from tests.tasks.support.dvc_sandbox import Sandbox


@pytest.fixture
def folders(empty: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Data of five files in two folders, which one stage reads; another makes a folder of three files. All has run."""
    monkeypatch.setattr(dvc_large_folders, "LEAST", 3)
    for name in ("a", "b", "c", "sub/d", "sub/e"):
        empty.write(f"data/{name}", f"text {name[-1]}")
    with Repo(str(empty.root)) as repo:
        repo.add(str(empty.root / "data"))
    empty.stages(
        read={"cmd": "cat data/a > read.txt", "deps": ["data"], "outs": ["read.txt"]},
        made={"cmd": "mkdir -p made && echo 1 > made/x && echo 2 > made/y && echo 3 > made/z", "outs": ["made"]},
    )
    empty.run()
    return empty


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that DVC looked through itself, or whose files it looked up in its cache."""
    found: list[str] = []
    build, check = dvc.output.build, dvc.output.ocheck

    def note_build(odb: object, path: str, *more: object, **options: object) -> object:
        found.extend([Path(path).name] if Path(path).is_dir() else [])
        return build(odb, path, *more, **options)

    def note_check(odb: object, obj: object, **options: object) -> object:
        found.extend(["cache"] if isinstance(obj, dvc.output.Tree) else [])
        return check(odb, obj, **options)

    monkeypatch.setattr(dvc.output, "build", note_build)
    monkeypatch.setattr(dvc.output, "ocheck", note_check)
    return found


def look(sandbox: Sandbox) -> set[str]:
    """The stages that are not up to date."""
    return {stage.name for stage in sandbox.pipeline().status() if stage.reasons}


def test_a_second_look_at_untouched_folders_asks_dvc_for_none_of_their_files(
    folders: Sandbox, asked: list[str]
) -> None:
    os.utime(folders.root / "data/a")
    look(folders)
    assert asked == ["data", "made"]  # once, though data.dvc is about it and a stage reads it
    asked.clear()
    assert (look(folders), compare(folders.root)) == (set(), "unchanged")
    assert set(folders.run().values()) == {"up_to_date"}
    assert asked == []


def edit_in_disguise(data: Path) -> None:
    """Other content of the same size, and the time of before set by hand."""
    was = (data / "a").stat()
    (data / "a").write_text("TEXT a")
    os.utime(data / "a", ns=(was.st_atime_ns, was.st_mtime_ns))


def swap(data: Path) -> None:
    (data / "a").rename(data / "t")
    (data / "b").rename(data / "a")
    (data / "t").rename(data / "b")


def link_a_folder(data: Path) -> None:
    (data.parent / "elsewhere").mkdir()
    (data.parent / "elsewhere/f").write_text("text f")
    (data / "link").symlink_to("../elsewhere")


CHANGES: tuple[Callable[[Path], object], ...] = (
    lambda data: (data / "a").write_text("TEXT a"),
    lambda data: (data / "sub/f").write_text("text f"),
    lambda data: (data / "sub/e").unlink(),
    lambda data: (data / "c").rename(data / "sub/c"),
    lambda data: shutil.rmtree(data / "sub"),
    lambda data: shutil.rmtree(data),
    lambda data: (data.parent / ".dvcignore").write_text("d\n"),
    edit_in_disguise,
    swap,
    link_a_folder,
)


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_a_folder_is_seen_as_dvc_sees_it(folders: Sandbox, change: Callable[[Path], object]) -> None:
    assert (look(folders), compare(folders.root)) == (set(), "unchanged")
    change(folders.root / "data")
    stock = set(folders.status())
    assert look(folders) == look(folders) == stock
    assert stock or change in (edit_in_disguise, link_a_folder)  # DVC is deceived by such a time, and follows no link


def test_what_is_written_while_dvc_looks_is_not_taken_for_what_it_saw(
    folders: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary file next to the data; its folder is as before when DVC has ended."""
    build = dvc.output.build

    def build_beside_a_file(odb: object, path: str, *more: object, **options: object) -> object:
        beside = Path(path, "beside.part")
        beside.touch()
        try:
            return build(odb, path, *more, **options)
        finally:
            beside.unlink()

    os.utime(folders.root / "data/a")
    with monkeypatch.context() as patched:
        patched.setattr(dvc.output, "build", build_beside_a_file)
        assert compare(folders.root) != "unchanged"
    assert (look(folders), compare(folders.root)) == (set(), "unchanged")


def test_an_ignore_file_that_changes_between_two_looks_of_a_project_counts(folders: Sandbox) -> None:
    project = Project(folders.root)
    try:
        project.plan()
        assert {judged.state for judged in project.judge().values()} == {"up_to_date"}
        folders.write(".dvcignore", "d\n")
        assert project.judge()["data.dvc"].state == "changed"
    finally:
        project.close()
    assert look(folders) == set(folders.status()) == {"data.dvc", "read"}


def test_what_changed_is_told_file_by_file(folders: Sandbox) -> None:
    look(folders)
    folders.write("data/a", "TEXT a")
    (folders.root / "data/sub/e").unlink()
    assert compare(folders.root) == Changes(removed=("data/sub/e",), modified=("data/a",))


def test_a_folder_put_back_as_it_was_is_up_to_date_again(folders: Sandbox) -> None:
    look(folders)
    folders.write("data/a", "TEXT a")
    assert look(folders) == {"data.dvc", "read"}
    folders.write("data/a", "text a")
    assert look(folders) == set()


@pytest.mark.parametrize("name", ["data/sub/d", "made/y"])
def test_a_file_that_the_cache_lost_or_has_damaged_is_seen(folders: Sandbox, name: str) -> None:
    look(folders)
    md5 = hashlib.md5((folders.root / name).read_bytes()).hexdigest()
    kept = folders.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    kept.chmod(0o644)
    kept.write_text("damaged")
    for _ in range(2):  # DVC removes it at the first look, and misses it at the second
        assert "not in cache" in str([stage.reasons for stage in folders.pipeline().status()])
    assert not kept.exists()
