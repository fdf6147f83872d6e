"""A file is read once as long as it stays as it is, and again whenever it may have changed."""

import os
from pathlib import Path

from tasks.common.read_once import SETTLED_NS, read_once


def settle(path: Path, ago_ns: int = 10 * SETTLED_NS) -> None:
    """Make a file look as if it had been written a while ago."""
    now = path.stat().st_mtime_ns
    os.utime(path, ns=(now - ago_ns, now - ago_ns))


def test_a_file_is_read_again_only_where_it_changed(tmp_path: Path) -> None:
    reads = []

    @read_once
    def content(path: Path, times: int = 1) -> str:
        reads.append(path.name)
        return path.read_text() * times

    path = tmp_path / "a"
    path.write_text("1")
    settle(path)
    assert [content(path), content(path), content(path, 2), content(path, 2)] == ["1", "1", "11", "11"]
    assert len(reads) == 2
    path.write_text("2")
    assert content(path) == "2"
    path.write_text("3")
    assert content(path) == "3", "the time stamp may be that of the last write"
    settle(path)
    other = tmp_path / "b"
    other.write_text("4")
    os.utime(other, ns=(path.stat().st_mtime_ns,) * 2)
    assert content(path) == "3"
    other.replace(path)
    assert content(path) == "4", "another file of the same size and time"


def test_a_relative_path_is_of_the_folder_that_one_is_in(tmp_path: Path, monkeypatch) -> None:
    content = read_once(lambda path: path.read_text())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        settle(tmp_path / name / "file")
        monkeypatch.chdir(tmp_path / name)
        assert content(Path("file")) == name
