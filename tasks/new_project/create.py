"""Write a new project's files into a folder, which may be a git repository with files of its own."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tasks.checks.parameters import check_parameters
from tasks.common.errors import GraftError
from tasks.common.files import write_text
from tasks.common.places import BUILD, CODE, GRAPH, LOCK, METRICS, MLFLOW, PARAMS, PREFECT, REPORT
from tasks.common.project_templates import shipped_text
from tasks.new_project.answers import Answers
from tasks.new_project.templates import DVC_IGNORED, IGNORED, NOTE_ON_WEIGHTS, config, extended, project_files
from tasks.settings.mlflow import read_mlflow_settings
from tasks.settings.prefect import read_deployments
from tasks.stage.code import current

PACKAGES = ("flows", "graft", "tasks")
"""Graft's own: a folder or file of such a name in a project would be imported in its place."""
MADE = tuple(map(str, (PARAMS, GRAPH, CODE, MLFLOW, PREFECT)))
RESULTS = tuple(map(str, (LOCK, BUILD, REPORT, METRICS)))
"""What the stages write."""


@dataclass(frozen=True)
class Created:
    """What was done to the folder."""

    written: tuple[str, ...]
    """Files that are new."""
    extended: tuple[str, ...]
    """Files that were there and got further lines."""
    made_repository: bool
    """Whether it became a git repository."""


def create(folder: Path, answers: Answers, *, git: bool) -> Created:
    """Make `folder` a project; with `git` it becomes a repository, if it is in none.

    Raises:
        GraftError: something is there that a project's files would replace or hide, or an answer cannot be used.
            Nothing is written then.
    """
    refuse_what_is_there(folder)
    files = project_files(answers)
    _check(files)
    if (folder / NOTE_ON_WEIGHTS).exists():
        del files[NOTE_ON_WEIGHTS]
    in_git = _in_repository(folder)
    makes_repository = git and not in_git
    if not (folder / ".dvc").exists():
        files |= {".dvc/config": config(has_git=git or in_git), ".dvc/.gitignore": shipped_text(".dvc/.gitignore")}
    files[str(CODE)] = current(folder)
    files = {name: files[name] for name in (*MADE, *(name for name in files if name not in MADE))}
    ignores = {".gitignore": IGNORED, ".dvcignore": DVC_IGNORED}
    old = {name: _text(folder / name) for name in ignores}
    new = {name: extended(old[name], lines) for name, lines in ignores.items()}
    with ExitStack() as undo:
        undo.callback(_take_back, folder, [*files, *new], old, existed=folder.exists())
        for name, text in (files | new).items():
            write_text(folder / name, text)
        if makes_repository:
            _git(folder, "init", "--quiet")
        undo.pop_all()
    changed = tuple(name for name in new if old[name] and new[name] != old[name])
    return Created((*files, *(name for name in new if not old[name])), changed, makes_repository)


def refuse_what_is_there(folder: Path) -> None:
    """Refuse a folder in which a project's files would replace or hide others.

    Raises:
        GraftError: all that is in the way.
    """
    problems = []
    if folder.exists() and not folder.is_dir():
        problems.append(f"{folder} is a file")
    there = [name for name in (*MADE, *RESULTS) if (folder / name).exists()]
    if there:
        problems.append(f"{folder} has {', '.join(there)} already, which would be replaced")
    hiding = [name for package in PACKAGES for name in (package, f"{package}.py") if (folder / name).exists()]
    if hiding:
        problems.append(f"{folder} has {', '.join(hiding)}, which Python would take for Graft's own code")
    if problems:
        raise GraftError(problems, "Make the project in another folder, which may lie in this one.")


def _check(files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        for file, text in files.items():
            write_text(Path(name, file), text)
        problems = list(_faults(Path(name)))
    if problems:
        raise GraftError(problems, "Nothing was written.")


def _faults(root: Path) -> Iterator[str]:
    for check in (check_parameters, read_mlflow_settings, read_deployments):
        try:
            check(root)
        except GraftError as error:
            yield from error.problems


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _take_back(folder: Path, files: list[str], old: dict[str, str], *, existed: bool) -> None:
    """After a failure: nothing of the project stays."""
    if not existed:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for name in files:
        if old.get(name):
            write_text(folder / name, old[name])
        else:
            (folder / name).unlink(missing_ok=True)


def _in_repository(folder: Path) -> bool:
    """Whether a folder, which may not exist yet, is or will be in a git repository."""
    nearest = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
    try:
        return _git(nearest, "rev-parse", "--is-inside-work-tree") == "true"
    except GraftError:
        return False


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise GraftError("there is no git here", "Install it, or leave it: --no-git.") from None
    except subprocess.CalledProcessError as error:
        raise GraftError(f"git {' '.join(arguments)}: {error.stderr.strip()}") from None
    return done.stdout.strip()
