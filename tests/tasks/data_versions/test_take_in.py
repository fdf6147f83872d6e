"""New data is taken in if it is valid; if not, it is refused with every reason, and nothing else has changed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tasks.common.errors import GraftError
from tasks.data_versions.take_in import take_in
from tasks.data_versions.version import DataRefused, recorded
from tasks.data_versions.watch import DataFingerprint
from tasks.prepare import prepare
from tasks.settings.prepare import PrepareSettings
from tasks.settings.yaml_sections import read_section
from tests.house.imports import ROOT
from tests.tasks.support.dvc_sandbox import dvc
from tests.tasks.support.git_origin import commit_all
from tests.tasks.support.raw_data import good_project, pictures, save_pictures


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = good_project(tmp_path_factory.mktemp("intake"))
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content |= {"label_budgets": [4]}
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    (root / "data.dvc").unlink()
    dvc(root, "init", "-q", "--no-scm")
    dvc(root, "add", "-q", "data")
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "project", symlinks=True))


@pytest.fixture
def taken_in(root: Path) -> Path:
    """A project that has just taken in valid data."""
    add(root / "data/target")
    assert take_in(root).what == "updated"
    return root


@pytest.fixture
def imported(template: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A project whose data comes from a folder elsewhere, and that folder."""
    root, origin = tmp_path / "project", tmp_path / "origin"
    shutil.copytree(template, root, symlinks=True)
    shutil.move(root / "data", origin)
    (root / "data.dvc").unlink()
    dvc(root, "import-url", "-q", str(origin), "data")
    return root, origin


def add(target: Path) -> None:
    save_pictures(target, {"train/one": pictures(9, seed=7)})


def packed(root: Path, settings: PrepareSettings) -> dict[str, bytes]:
    prepare(root, settings)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("build/data/**/*") if path.is_file()}


def spoil(target: Path) -> None:
    add(target)
    (target / "train/one/001.png").write_bytes(b"no image")
    (target / "train/two/twin.png").write_bytes((target / "test/one/000.png").read_bytes())


def refusal(root: Path) -> str:
    with pytest.raises(DataRefused) as caught:
        take_in(root)
    return str(caught.value)


def test_new_data_in_the_folder_is_versioned(root: Path) -> None:
    before = recorded(root)
    assert take_in(root).what == "unchanged"
    add(root / "data/target")
    found = take_in(root)
    assert found.what == "updated"
    assert "1 added" in str(found.changes)
    assert found.md5 == recorded(root) != before


def test_faulty_data_is_refused_with_every_reason_and_stays_for_its_owner_to_mend(root: Path) -> None:
    before = (root / "data.dvc").read_text()
    spoil(root / "data/target")
    said = refusal(root)
    assert "001.png" in said
    assert "twin.png" in said
    assert (root / "data.dvc").read_text() == before
    assert (root / "data/target/train/one/001.png").read_bytes() == b"no image"
    (root / "data/target/train/one/001.png").unlink()
    (root / "data/target/train/two/twin.png").unlink()
    assert take_in(root).what == "updated"


def test_news_of_an_import_is_fetched_and_versioned(imported: tuple[Path, Path]) -> None:
    root, origin = imported
    assert take_in(root).what == "unchanged"
    add(origin / "target")
    found = take_in(root)
    assert found.what == "updated"
    assert "1 added (data/target/train/one/008.png)" in str(found.changes)
    assert "removed" not in str(found.changes)
    assert (root / "data/target/train/one/008.png").exists()
    seen = DataFingerprint(root, print).fingerprint()
    assert take_in(root).what == "unchanged"
    assert DataFingerprint(root, print).fingerprint() == seen, "who watches would run again, and again"


def test_news_of_another_repository_is_fetched_and_no_copy_of_that_is_left(
    imported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, origin = imported
    repository, temporary = tmp_path / "repository", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for file in (root / "data.dvc", root / "data"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    shutil.copytree(origin, repository / "images")
    commit_all(repository)
    dvc(root, "import", "-q", f"file://{repository}", "images", "-o", "data")
    assert take_in(root).what == "unchanged"
    add(repository / "images/target")
    commit_all(repository)
    assert take_in(root).what == "updated"
    assert (root / "data/target/train/one/008.png").exists()
    assert [*temporary.iterdir()] == []
    seen = DataFingerprint(root, print).fingerprint()
    assert take_in(root).what == "unchanged"
    assert DataFingerprint(root, print).fingerprint() == seen, "who watches would run again, and again"


def test_faulty_news_of_an_import_goes_and_what_was_there_comes_back(imported: tuple[Path, Path]) -> None:
    root, origin = imported
    before = (root / "data.dvc").read_text()
    spoil(origin / "target")
    assert "twin.png" in refusal(root)
    assert (root / "data.dvc").read_text() == before
    assert not (root / "data/target/train/two/twin.png").exists()
    shutil.rmtree(root / "data")
    (origin / "target/train/one/001.png").unlink()
    (origin / "target/train/two/twin.png").unlink()
    assert take_in(root).what == "updated"


def test_an_import_that_was_edited_here_is_not_overwritten(imported: tuple[Path, Path]) -> None:
    root, origin = imported
    add(origin / "target")
    (root / "data/target/train/one/mine.png").write_bytes(b"mine")
    with pytest.raises(GraftError, match=r"mine\.png.*\n.*edit it at its origin"):
        take_in(root)
    assert (root / "data/target/train/one/mine.png").exists()


def test_an_origin_that_is_gone_is_named(imported: tuple[Path, Path]) -> None:
    root, origin = imported
    shutil.rmtree(origin)
    with pytest.raises(GraftError, match="origin"):
        take_in(root)
    assert (root / "data/target").exists()


def test_news_of_an_origin_is_checked_again_if_the_check_was_broken_off(imported: tuple[Path, Path]) -> None:
    root, origin = imported
    before = (root / "data.dvc").read_text()
    spoil(origin / "target")
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "import tasks.data_versions.take_in as intake\n"
        "intake.refuse_faults = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "intake.take_in(Path())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=root, env=environment, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (root / "data.dvc").read_text() != before
    assert "001.png" in refusal(root)
    assert (root / "data.dvc").read_text() == before
    assert (root / "data/target/train/one/001.png").read_bytes() != b"no image"


class TestDecodedOnce:
    """The stage takes over what the check has decoded, if nothing that it depends on differs."""

    def test_the_stage_decodes_nothing_again(
        self, taken_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = read_section(taken_in / "params.yaml", "prepare", PrepareSettings)
        again = shutil.copytree(taken_in, tmp_path / "again")
        shutil.rmtree(again / ".graft")
        expected = packed(again, settings)
        with monkeypatch.context() as without_decoder:
            without_decoder.setattr("tasks.datasets.pack.examine", None)
            assert packed(taken_in, settings) == expected
        assert packed(taken_in, settings) == expected, "what was kept is used once"

    @pytest.mark.parametrize("other", ["settings", "data", "code"])
    def test_it_does_if_they_are_not_those_of_the_check(self, taken_in: Path, other: str) -> None:
        settings = read_section(taken_in / "params.yaml", "prepare", PrepareSettings)
        kept = next(taken_in.glob(".graft/packed/*/card.json"))
        kept.write_text("of something else")
        if other == "settings":
            settings = replace(settings, image_size=5)
        elif other == "data":
            pointer = taken_in / "data.dvc"
            pointer.write_text(pointer.read_text().replace("md5: ", "md5: 0", 1))
        else:
            (taken_in / "code.yaml").write_text("stages: {prepare: 0123}")
        assert packed(taken_in, settings)["build/data/card.json"] != b"of something else"
        assert not (taken_in / ".graft/packed").exists()
