"""Write a new project's files into a folder, which may be a git repository with other files."""

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
"""Graft's packages: a folder or file with one of these names in a project would be imported instead."""
MADE = tuple(map(str, (PARAMS, GRAPH, CODE, MLFLOW, PREFECT)))
RESULTS = tuple(map(str, (LOCK, BUILD, REPORT, METRICS)))
"""Files and folders that the stages write."""


@dataclass(frozen=True)
class Created:
    """What `create` changed in the folder."""

    written: tuple[str, ...]
    """New files."""
    extended: tuple[str, ...]
    """Existing files to which lines were added."""
    made_repository: bool
    """Whether a git repository was initialised."""


def create(folder: Path, answers: Answers, *, git: bool) -> Created:
    """Make `folder` a project; with `git` also a git repository, if it is not inside one.

    Raises:
        GraftError: existing files would be replaced or hide Graft's own code, or an answer is not valid. Nothing is
            written then.
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
    """Refuse a folder whose files a project would replace, or would hide Graft's own code.

    Raises:
        GraftError: lists all conflicting files.
    """
    problems = []
    if folder.exists() and not folder.is_dir():
        problems.append(f"{folder} is a file")
    there = [name for name in (*MADE, *RESULTS) if (folder / name).exists()]
    if there:
        problems.append(f"{folder} already has {', '.join(there)}, which would be replaced")
    hiding = [name for package in PACKAGES for name in (package, f"{package}.py") if (folder / name).exists()]
    if hiding:
        problems.append(f"{folder} has {', '.join(hiding)}, which Python would import instead of Graft's own code")
    if problems:
        raise GraftError(problems, "Create the project in another folder, which may be inside this one.")


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
    """Undo everything after a failure."""
    if not existed:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for name in files:
        if old.get(name):
            write_text(folder / name, old[name])
        else:
            (folder / name).unlink(missing_ok=True)


def _in_repository(folder: Path) -> bool:
    """Whether a folder, which may not exist yet, is inside a git repository."""
    nearest = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
    try:
        return _git(nearest, "rev-parse", "--is-inside-work-tree") == "true"
    except GraftError:
        return False


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise GraftError("git is not installed", "Install it, or create the project without it: --no-git.") from None
    except subprocess.CalledProcessError as error:
        raise GraftError(f"git {' '.join(arguments)}: {error.stderr.strip()}") from None
    return done.stdout.strip()
