"""Every command that the documentation shows is run: here, or by the test that is named for it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from typer.testing import CliRunner

from flows.cli import app
from tests.flows.project import Project
from tests.graft.networks.test_given_weights import published_names
from tests.house.imports import ROOT
from tests.tasks.support.raw_data import pictures, save_pictures
from tests.tasks.support.text_data import save_tsv, sentences

DATA, WEIGHTS = "docs/how-to/your-data.md", "docs/how-to/your-weights.md"
TOLD_OF_DATA = (DATA, "docs/how-to/texts.md", "docs/how-to/photos.md")
"""Pages whose commands are run one after another, in one folder of data sets."""
PAGES = [
    *("README.md", "README.zh-CN.md"),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
]
FROM_A_CLONE = {"git clone … graft && cd graft": ".ci/run", "make run": ".ci/run"}
ELSEWHERE = {
    "README.md": FROM_A_CLONE,
    "README.zh-CN.md": FROM_A_CLONE,
    "docs/index.md": FROM_A_CLONE | {"graft --install-completion": "tests/flows/commands/test_completion.py"},
    DATA: {"graft data add source torchvision:USPS": "tests/tasks/data_versions/test_add.py"},  # it needs a network
    WEIGHTS: {".venv/bin/pip install timm": ".ci/run"},
    "docs/how-to/schedule.md": {"graft schedule": "tests/flows/commands/test_schedule.py"},
    "docs/how-to/operate.md": {
        "deploy/backup.sh /srv/graft /mnt/backup": "tests/flows/test_transfer.py",
        "createdb mlflow": "tests/flows/test_postgres.py",
        "createdb prefect": "tests/flows/test_postgres.py",
        "export MLFLOW_TRACKING_URI=postgresql://USER:PASSWORD@HOST/mlflow": "tests/flows/test_postgres.py",
        "export PREFECT_SERVER_DATABASE_CONNECTION_URL=postgresql+asyncpg://USER:PASSWORD@HOST/prefect": (
            "tests/flows/test_postgres.py"
        ),
        "graft sync": "tests/flows/test_transfer.py",
        "pg_dump --format=custom --file=prefect.dump postgresql://USER:PASSWORD@HOST/prefect": (
            "tests/flows/test_postgres.py"
        ),
        "pg_restore --dbname=postgresql://USER:PASSWORD@HOST/prefect prefect.dump": "tests/flows/test_postgres.py",
        ".venv/bin/mlflow db upgrade sqlite:///.graft/mlflow/mlflow.db": "tests/house/test_deploy.py",
        "git pull": ".ci/run",
        "make install": ".ci/run",
        "graft run": "tests/flows/test_transfer.py",
    },
}
"""Commands that other tests run, or the gate, which installs from a fresh clone."""
SMALL: dict[str, Any] = {
    "seeds": [0],
    "label_budgets": [2],
    "strategies": {"scratch": {}, "fine_tune": {}},
    "label_free": {},
    "pretrain": {"training": {"steps": 3, "batch_size": 8}},
    "finetune": {"trained_folds": 1, "training": {"steps": 2}},
}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """What stands behind a `$` on a page."""
    return re.findall(r"^\$ (.*)", text_of(page), re.MULTILINE)


class Shell:
    """Runs commands as they stand on a page, in the folder that they have changed to."""

    def __init__(self, folder: Path, before: dict[str, Callable[[Path], None]]) -> None:
        self.folder, self._before = folder, before
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        who = {f"GIT_{role}_{what}": "t" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        self._environment = os.environ | who | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "160"}

    def run(self, command: str) -> str:
        """Run it; what it says."""
        if prepare := self._before.get(command):
            prepare(self.folder)
        words = shlex.split(command.removeprefix(".venv/bin/"))
        if words[0] == "cd":
            self.folder = self.folder / words[1]
            return ""
        if words[0] == "graft":  # of this checkout, whatever is installed
            words[:1] = [sys.executable, "-m", "flows.cli"]
        done = subprocess.run(
            words, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout


EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/README.md"))
MADE = ("data*", "build", "reports", "pieces", "texts", "digits", "*.pth", ".graft", "tmp", "cache", "*.lock")


def edit(project: Path, **sections: Any) -> None:
    Project(project).edit(**sections)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_server")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_runs_as_its_page_says(example: Path, tmp_path: Path) -> None:
    root = tmp_path / example.name
    shutil.copytree(example, root, ignore=shutil.ignore_patterns(*MADE))
    strategies = yaml.safe_load((root / "params.yaml").read_text())["strategies"]
    shell = Shell(root, {"graft run": lambda project: edit(project, **SMALL | {"strategies": strategies})})
    shell.run("git init --quiet")
    said = [shell.run(command) for command in commands(str(example.relative_to(ROOT) / "README.md"))]
    assert "version 1 (registered now)" in said[-1]


@pytest.mark.parametrize("page", PAGES)
def test_each_command_is_run_somewhere(page: str) -> None:
    unknown = set(ELSEWHERE.get(page, {})) - set(commands(page))
    assert not unknown, "no longer documented"
    if page not in (*TOLD_OF_DATA, WEIGHTS):
        assert set(commands(page)) <= set(ELSEWHERE.get(page, {}))
    for command, by in ELSEWHERE.get(page, {}).items():
        assert (ROOT / by).exists()
        assert by != ".ci/run" or not command.startswith("make") or f"\n{command}\n" in text_of(by)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_exist_with_their_options(page: str) -> None:
    for found in re.findall(r"`(?:\.venv/bin/)?graft ([^`]+)`", text_of(page)):
        words = shlex.split(re.sub(r"\\\|\w+", "", found).replace("[", "").replace("]", ""))
        if words[0].endswith("-completion"):  # it would be installed for whoever runs this test
            words = ["--help", *words]
        result = CliRunner().invoke(app, [*words, "--help"])
        assert result.exit_code == 0, f"{page}: graft {found}\n{result.output}"


def lay_down_data(folder: Path) -> None:
    """Small data sets in the places that the pages on data name, and weights that learned nothing."""
    splits = {
        "photos": "test",
        "sketches": "test",
        "pacs/photo": "test",
        "pacs/art_painting": "test",
        "hymenoptera": "val",
    }
    for seed, (name, test) in enumerate(splits.items()):
        drawn = pictures(32, seed=seed)
        tree = {
            "train/ant": drawn[:10],
            "train/bee": drawn[10:20],
            f"{test}/ant": drawn[20:26],
            f"{test}/bee": drawn[26:],
        }
        save_pictures(folder / name, tree)
    for seed, name in enumerate(("sentences/imdb", "sentences/amazon", "sentences/yelp", "sms_spam")):
        said = sentences(48, seed=seed)
        save_tsv(folder / name / "train.tsv", said[:32])
        save_tsv(folder / name / "test.tsv", said[32:])
    torch.save(published_names(), folder / "lite0.pth")


@pytest.mark.slow
@pytest.mark.usefixtures("warm_server")
def test_what_is_told_of_data_leads_to_a_registered_model(tmp_path: Path) -> None:
    lay_down_data(tmp_path)
    registered = []

    def shrink(project: Path) -> None:
        registered.append(project.name)
        edit(project, **SMALL, prepare={"image_size": 8 if project.name == "mine" else 32})

    shell = Shell(tmp_path, {"graft run": shrink})
    told = [command for page in TOLD_OF_DATA for command in commands(page)]
    said = [(command, shell.run(command)) for command in told if command not in ELSEWHERE[DATA]]
    assert "20 images" in dict(said)["graft data add target ../sketches"]
    assert registered == ["mine", "spam", "reviews", "art", "ants"]
    assert all("version 1 (registered now)" in text for command, text in said if command == "graft run")


@pytest.mark.slow
def test_what_is_told_of_weights_holds_for_a_file_and_several_sources(project: Project) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", text_of(WEIGHTS), re.DOTALL)
    (description,) = [block for block in blocks if block.startswith("# weights/resnet18-mine.yaml")]
    (sources,) = [yaml.safe_load(block) for block in blocks if "\nuse: best" in block]

    def lay_down(root: Path) -> None:
        torch.manual_seed(0)
        torch.save(torchvision.models.resnet18().state_dict(), root / "weights/resnet18-mine.pth")
        (root / "weights/resnet18-mine.yaml").write_text(description)

    def name(root: Path) -> None:
        given = {"weights": "weights/resnet18-mine.pth", "learn": "head"}
        small = SMALL | {"pretrain": SMALL["pretrain"] | given}
        edit(root, **small)

    def add_sources(root: Path) -> None:
        shutil.copytree(root / "data/source", root / "data/print")
        sources["sources"]["imagenet"]["weights"] = "weights/resnet18-mine.pth"  # the named ones need a network
        edit(root, **sources, pretrain={"weights": "none", "learn": "all"})
        shell.run("graft data check")
        shell.run("dvc add --quiet data")

    shell = Shell(project.root, {".venv/bin/graft forecast": add_sources})
    lay_down(project.root)
    said = {}
    for command in commands(WEIGHTS):
        if command in ELSEWHERE[WEIGHTS]:
            continue
        if command == ".venv/bin/graft run" and not said:  # the first needs the file that comes further down
            name(project.root)
        said[command] = shell.run(command)
    assert "imagenet" in said[".venv/bin/graft forecast"]
    assert "print" in said[".venv/bin/graft forecast"]
    assert {"fine_tune", "fine_tune@imagenet", "fine_tune@print"} <= project.metrics["strategies"].keys()
    assert "runs recorded" in said[".venv/bin/graft run"]
