"""A small DVC project in a folder of its own, run by the executor or by stock DVC, and what can be asked of it."""

import atexit
import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

from tasks.executor.execute import Event
from tasks.executor.pipeline import Pipeline
from tasks.executor.processes.runner import LocalRunner

SCRATCH = Path(tempfile.mkdtemp(prefix="graft-dvc-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
os.environ["DVC_SITE_CACHE_DIR"] = str(SCRATCH / "site")
# As in an activated environment: stock DVC takes `python` from PATH.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

JOIN = """\
import pathlib, sys

out, *sources = sys.argv[1:]
pathlib.Path(out).write_text("".join(pathlib.Path(source).read_text() for source in sources) + out)
"""


class Sandbox:
    """A DVC project in `root`. Its stages say that they ran with `echo NAME >> runs.log`, a file unknown to DVC."""

    def __init__(self, root: Path, runner: LocalRunner) -> None:
        self.root, self.runner = root, runner

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def stages(self, **stages: Any) -> None:
        """Write `dvc.yaml`."""
        self.write("dvc.yaml", yaml.safe_dump({"stages": stages}, sort_keys=False))

    def pipeline(self, jobs: int = 3, on_event: Callable[[Event], None] | None = None, **options: Any) -> Pipeline:
        return Pipeline(self.root, jobs=jobs, runner=self.runner, on_event=on_event, **options)

    def run(self, *targets: str, jobs: int = 3, **options: Any) -> dict[str, str]:
        """Run by the executor: what became of each stage."""
        return {outcome.name: outcome.how for outcome in self.pipeline(jobs).run(targets, **options)}

    def runs(self) -> list[str]:
        """The stages whose commands have run since this was last asked, sorted."""
        log = self.root / "runs.log"
        lines = sorted(log.read_text().split()) if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def stock(self, *targets: str) -> None:
        """Run by `dvc repro`, in this process (several times faster than the command)."""
        with contextlib.chdir(self.root), Repo(str(self.root)) as repo:
            repo.reproduce(list(targets) or None)

    def status(self) -> Any:
        """What `dvc status` says; empty if all is up to date."""
        with contextlib.chdir(self.root), Repo(str(self.root)) as repo:
            return repo.status()

    def twin(self) -> "Sandbox":
        """A copy in another folder."""
        root = self.root.with_name(f"{self.root.name}-twin")
        shutil.copytree(self.root, root, symlinks=True)
        return Sandbox(root, self.runner)


def dvc(root: Path, *arguments: str) -> str:
    """Run the real command in the project `root`; what it prints."""
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


@functools.cache
def template(*, git: bool) -> Path:
    """An empty DVC project, made once."""
    root = SCRATCH / f"template-{git}"
    root.mkdir()
    if git:
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main"], cwd=root, check=True)
    Repo.init(str(root), no_scm=not git).close()
    (root / "join.py").write_text(JOIN)
    return root


def new_sandbox(root: Path, runner: LocalRunner, *, git: bool = False) -> Sandbox:
    """An empty DVC project at `root`, with a `join.py` that writes its inputs and a name into a file."""
    shutil.copytree(template(git=git), root)
    return Sandbox(root, runner)


def states(events: Iterable[Event], stage: str) -> list[str]:
    """The states that a stage went through."""
    return [event.state for event in events if event.stage == stage and event.line is None]


def join(name: str, *sources: str, **more: object) -> dict[str, object]:
    """A stage that joins files into `NAME.txt`."""
    command = f"python join.py {name}.txt {' '.join(sources)} && echo {name} >> runs.log"
    return {"cmd": command, "deps": ["join.py", *sources], "outs": [f"{name}.txt"], **more}


def failing(code: int, **more: object) -> dict[str, object]:
    return {"cmd": f"echo bad luck; exit {code}", "outs": ["never.txt"], **more}
