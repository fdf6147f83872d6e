"""A project of a user's own, outside of the code: made by `graft init` from an installed wheel, and run."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.house.imports import ROOT
from tests.tasks.support.raw_data import pictures, save_npz, save_pictures

pytestmark = pytest.mark.slow
SMALL = [
    *("--yes", "--no-git", "--image-size", "8", "--channels", "1", "--no-flip", "--backbone", "convnet_tiny"),
    *("--labels", "2", "--seeds", "0", "--schedule", "none"),
    *("--set", "pretrain.training={steps: 3, batch_size: 8}", "--set", "finetune.training={steps: 2}"),
]
OWN = '''\
"""Shared architecture: everything is tuned, as a strategy of one's own."""

from dataclasses import dataclass

from graft import Network, Strategy, fresh_head


@dataclass(frozen=True)
class Mine(Strategy):
    """Tune everything from a fresh head."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head."""
        fresh_head(source, classes)
        return source
'''


class Site:
    """An environment with Graft installed from its wheel, and what can be done in it."""

    def __init__(self, folder: Path) -> None:
        self.code = folder / "site"
        environment = {name: value for name, value in os.environ.items() if name != "DVC_SITE_CACHE_DIR"}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = environment | {"PYTHONPATH": str(self.code), "PATH": path, "COLUMNS": "160"}

    def run(self, folder: Path, *command: str, code: int = 0) -> str:
        """What `python -m COMMAND` says in a folder."""
        line = [sys.executable, "-m", *command]
        done = subprocess.run(line, cwd=folder, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def graft(self, folder: Path, *arguments: str, code: int = 0) -> str:
        return self.run(folder, "flows.cli", *arguments, code=code)

    def states(self, project: Path) -> dict[str, str]:
        """What stock DVC says of the stages that are not up to date, after `graft status`."""
        self.graft(project, "status")
        text = self.run(project, "dvc", "status", "--json")
        return dict.fromkeys(yaml.safe_load(text or "{}"), "changed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("own")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return Site(folder)


@pytest.fixture(scope="module")
def project(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with data of both domains and a strategy of its own, run once by Graft's executor."""
    folder = tmp_path_factory.mktemp("work")
    site.graft(folder, "init", "mine", *SMALL, "--strategies", "fine_tune,source_only")
    drawn = pictures(60, seed=2)
    save_npz(folder / "digits.npz", pictures(40, seed=1), classes=("one", "two"))
    parts = {"train/one": drawn[:20], "train/two": drawn[20:40], "test/one": drawn[40:50], "test/two": drawn[50:]}
    save_pictures(folder / "photos", parts)
    project = folder / "mine"
    site.graft(project, "data", "add", "source", "../digits.npz")
    site.graft(project, "data", "add", "target", "../photos")
    (project / "strategies").mkdir()
    (project / "strategies/mine.py").write_text(OWN)
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("  fine_tune: {}\n", "  fine_tune: {}\n  mine: {}\n"))
    site.graft(project, "repro")
    return project


def test_stock_dvc_finds_nothing_to_do_and_enters_the_same_into_the_lock(
    site: Site, project: Path, tmp_path: Path
) -> None:
    assert site.states(project) == {}
    clone = tmp_path / "clone"
    shutil.copytree(project, clone, ignore=shutil.ignore_patterns("dvc.lock", "build", "reports", "runs"))
    site.run(clone, "dvc", "repro", "--quiet", "finetune@mine-2-0")
    entries, others = (yaml.safe_load((folder / "dvc.lock").read_text())["stages"] for folder in (clone, project))
    assert set(entries) == {"prepare", "weights", "pretrain", "forecast", "finetune@mine-2-0"}
    assert entries == {name: others[name] for name in entries}


def test_the_same_code_elsewhere_changes_nothing(site: Site, project: Path, tmp_path: Path) -> None:
    moved = Site(tmp_path)
    shutil.copytree(site.code, moved.code)
    assert moved.states(project) == {}


def test_an_edit_of_the_code_concerns_the_stages_that_use_it(site: Site, project: Path, tmp_path: Path) -> None:
    edited = Site(tmp_path)
    shutil.copytree(site.code, edited.code)
    with (edited.code / "graft/measures/projection.py").open("a") as file:
        file.write("\n# edited\n")
    assert edited.states(project) == {"evaluate": "changed"}
    with (edited.code / "graft/strategies/fine_tune.py").open("a") as file:
        file.write("\n# edited\n")
    assert edited.states(project) == {"evaluate": "changed", "finetune@fine_tune-2-0": "changed"}
    assert site.states(project) == {}, "with the former code again"


def test_an_edit_of_an_own_strategy_reruns_its_trials_alone(site: Site, project: Path) -> None:
    assert "Tune everything from a fresh head" in site.graft(project, "strategies", "mine")
    own = project / "strategies/mine.py"
    own.write_text(OWN + "\n# edited\n")
    try:
        assert site.states(project) == {"finetune@mine-2-0": "changed"}
    finally:
        own.write_text(OWN)
    assert site.states(project) == {}


def test_stock_dvc_does_not_record_a_result_under_the_hash_of_other_code(
    site: Site, project: Path, tmp_path: Path
) -> None:
    clone, edited = tmp_path / "clone", Site(tmp_path)
    shutil.copytree(project, clone)
    shutil.copytree(site.code, edited.code)
    with (edited.code / "tasks/datasets/pictures.py").open("a") as file:
        file.write("\n# edited\n")
    lock = (clone / "dvc.lock").read_bytes()
    said = edited.run(clone, "dvc", "repro", "--single-item", "--force", "--no-run-cache", "prepare", code=255)
    assert "code.yaml is out of date for stage prepare" in said
    assert (clone / "dvc.lock").read_bytes() == lock
    edited.graft(clone, "status")
    edited.run(clone, "dvc", "repro", "--single-item", "prepare")
    assert (clone / "dvc.lock").read_bytes() != lock
