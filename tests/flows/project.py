"""A small copy of this project to run for real: the demo's data, a tiny network, few steps."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from tests.house.imports import ROOT

COPIED = (
    "flows",
    "graft",
    "tasks",
    ".dvc/config",
    ".dvcignore",
    ".gitignore",
    "code.yaml",
    "data.dvc",
    "dvc.yaml",
    "mlflow.yaml",
    "params.yaml",
    "prefect.yaml",
    "weights",
)
SET_BY_TESTS = ("MPLCONFIGDIR", "PREFECT_HOME")
SMALL = {
    "seeds": [0, 1],
    "label_budgets": [2, 5],
    "strategies": {"scratch": {}, "fine_tune": {}},
    "label_free": {"source_only": {}},
    "pretrain": {"backbone": "convnet_tiny", "training": {"steps": 60, "batch_size": 64, "learning_rate": 0.02}},
    "finetune": {"trained_folds": 1, "training": {"steps": 30, "evaluations": 3}},
}


def post(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """What Prefect's API finds."""
    found: list[dict[str, Any]] = send(url, body)
    return found


@retry(
    retry=retry_if_exception(lambda error: getattr(error, "code", 0) == 503),
    stop=stop_after_delay(60),
    wait=wait_fixed(1),
    reraise=True,
)
def send(url: str, body: dict[str, Any]) -> Any:
    """What Prefect's API answers; it asks for patience while another writes to its database."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


class Output:
    """What a process says, as it says it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self.text = process, ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.text += line

    def after(self, position: int, words: str, seconds: float = 240) -> int:
        """Wait for `words` beyond `position`; the position behind them."""
        end = time.monotonic() + seconds
        while (found := self.text.find(words, position)) < 0:
            assert time.monotonic() < end, self.text
            assert self._process.poll() is None, self.text
            time.sleep(0.2)
        return found + len(words)


class Project:
    """A project folder with its commands."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path) -> "Project":
        """Copy what git tracks of this project, make it a repository, and shrink its parameters."""
        for name in COPIED:
            source, target = ROOT / name, root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        project = cls(root)
        project.edit(**SMALL)
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
            subprocess.run([*git, *command], cwd=root, check=True)
        return project

    def edit(self, **sections: Any) -> None:
        """Change sections of params.yaml; mappings are merged."""
        path = self.root / "params.yaml"
        content = yaml.safe_load(path.read_text())
        for name, value in sections.items():
            merge = isinstance(value, dict) and name not in ("strategies", "label_free")
            content[name] = {**content[name], **value} if merge else value
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def graft(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the `graft` command in the project."""
        return self._run([sys.executable, "-m", "flows.cli", *arguments], env)

    def dvc(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run stock DVC in the project, this environment's Python first on the path."""
        return self._run([sys.executable, "-m", "dvc", *arguments], env)

    def python(self, program: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a few lines of Python in the project."""
        return self._run([sys.executable, "-c", program], env)

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the `graft` command; stdout and stderr come together."""
        command = [sys.executable, "-m", "flows.cli", *arguments]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, cwd=self.root, env=self._environment(env), text=True, **streams)

    def _run(self, command: list[str], env: dict[str, str] | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.root, env=self._environment(env), capture_output=True, text=True, timeout=600, check=False
        )

    @staticmethod
    def _environment(more: dict[str, str] | None) -> dict[str, str]:
        variables = {name: value for name, value in os.environ.items() if name not in SET_BY_TESTS}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return variables | {"COLUMNS": "160", "PATH": path} | (more or {})

    @property
    def lock(self) -> bytes:
        """dvc.lock as it is."""
        return (self.root / "dvc.lock").read_bytes()

    @property
    def metrics(self) -> dict[str, Any]:
        """reports/metrics.json."""
        found: dict[str, Any] = json.loads((self.root / "reports/metrics.json").read_text())
        return found

    def times(self) -> dict[str, float]:
        """When each stage's outputs were written last: a stage that is skipped leaves them alone."""
        outputs = [
            "data/card.json",
            "pretrained",
            "evaluation",
            *(f"trials/{t.name}" for t in (self.root / "build/trials").iterdir()),
        ]
        return {name: max(p.stat().st_mtime_ns for p in [self.root / "build" / name]) for name in outputs}

    def mlflow(self) -> tuple[int, int]:
        """How many runs and how many model versions MLflow holds."""
        import sqlite3

        with sqlite3.connect(self.root / ".graft/mlflow/mlflow.db") as database:
            runs = database.execute("select count(*) from runs where lifecycle_stage = 'active'").fetchone()[0]
            versions = database.execute("select count(*) from model_versions").fetchone()[0]
        return runs, versions
