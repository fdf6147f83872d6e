"""What an import's origin holds now, asked of a real repository and a real remote of DVC."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.repo import Repo

from tasks.common.errors import AwayError
from tasks.data_versions.import_origin import local_origin, remote_state
from tasks.data_versions.watch import DataFingerprint
from tests.house.imports import ROOT
from tests.tasks.support.dvc_sandbox import dvc
from tests.tasks.support.git_origin import commit_all


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    (folder / "images").mkdir(parents=True)
    (folder / "images/a.png").write_bytes(b"a")
    commit_all(folder)
    return folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    Repo.init(str(folder), no_scm=True).close()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return folder


def import_repository(root: Path, origin: Path, *options: str) -> None:
    dvc(root, "import", "-q", f"file://{origin}", "images", "-o", "data", *options)


def import_remote(root: Path, origin: Path) -> None:
    dvc(root, "remote", "add", "there", str(origin))
    dvc(root, "import-url", "-q", "remote://there/images", "data")


@pytest.mark.parametrize("bring", [import_repository, import_remote])
def test_news_elsewhere_is_seen(root: Path, origin: Path, bring: Callable[[Path, Path], None]) -> None:
    bring(root, origin)
    assert local_origin(root) is None, "not to be looked at as a folder"
    data, before = DataFingerprint(root, print), remote_state(root)
    seen = data.fingerprint()
    assert before
    assert (remote_state(root), data.fingerprint()) == (before, seen)
    (origin / "images/b.png").write_bytes(b"b")
    commit_all(origin)
    assert remote_state(root) != before
    assert data.fingerprint() != seen


def test_what_others_do_is_no_news_of_the_revision_that_was_asked_for(root: Path, origin: Path) -> None:
    subprocess.run(["git", "branch", "-q", "stable"], cwd=origin, check=True)
    import_repository(root, origin, "--rev", "stable")
    before = remote_state(root)
    (origin / "images/b.png").write_bytes(b"b")
    commit_all(origin)
    assert remote_state(root) == before
    subprocess.run(["git", "branch", "-q", "--force", "stable", "HEAD"], cwd=origin, check=True)
    assert remote_state(root) != before


def test_an_origin_that_is_away_is_said_once_and_is_no_news(root: Path, origin: Path) -> None:
    import_repository(root, origin)
    said: list[str] = []
    data = DataFingerprint(root, said.append)
    before = data.fingerprint()
    origin.rename(origin.with_name("elsewhere"))
    assert [data.fingerprint(), data.fingerprint()] == [before, before]
    origin.with_name("elsewhere").rename(origin)
    assert data.fingerprint() == before
    assert len(said) == 2
    assert said[0].startswith(f"the origin of data/, file://{origin}, cannot be reached: fatal: ")
    assert said[1] == "the origin of data/ answers again"


def test_it_is_asked_no_more_often_than_wanted(root: Path, origin: Path) -> None:
    import_repository(root, origin)
    data = DataFingerprint(root, print, every=1000.0)
    before = data.fingerprint()
    (origin / "images/b.png").write_bytes(b"b")
    commit_all(origin)
    assert data.fingerprint() == before


def test_a_password_is_not_shown(root: Path) -> None:
    (root / "data.dvc").write_text("deps:\n- path: x\n  repo: {url: 'http://me:secret@127.0.0.1:1/x.git'}\n")
    with pytest.raises(
        AwayError, match=r"the origin of data/, http://me:…@127\.0\.0\.1:1/x\.git, cannot be reached: "
    ) as caught:
        remote_state(root)
    assert "secret" not in str(caught.value)


def test_what_lies_on_this_machine_is_not_asked(root: Path, origin: Path) -> None:
    assert (local_origin(root), remote_state(root)) == (None, ""), "there is no data.dvc"
    dvc(root, "import-url", "-q", str(origin / "images"), "data")
    found = local_origin(root)
    assert found is not None
    assert found.samefile(origin / "images")
    assert remote_state(root) == ""
