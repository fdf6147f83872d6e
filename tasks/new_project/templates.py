"""The content of every file of a new project."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tasks.common.errors import GraftError
from tasks.common.places import BUILD, GRAPH, MLFLOW, PARAMS, PREFECT, RAW_DATA, REPORT, STATE, WEIGHTS
from tasks.common.project_templates import shipped_text
from tasks.new_project.answers import Answers, Edit, Path_, parameter_edits, reasons
from tasks.new_project.edit_yaml import with_values

IGNORED = (f"/{RAW_DATA}", f"/{BUILD}", f"/{REPORT}", f"/{STATE}/", "/.venv/", "__pycache__/", ".*.part")
"""What git ignores, because DVC versions it or because it is temporary."""
DVC_IGNORED = (str(STATE), ".venv", ".*.part")
FLOW = "flows.transfer.transfer"
"""Where Prefect finds the flow: in the installed package, not in a file of the project."""
NOTE_ON_WEIGHTS = f"{WEIGHTS}/README.md"
"""The folder must exist, since the stage `weights` depends on it."""


def project_files(answers: Answers) -> dict[str, str]:
    """The files of a new project by name, except DVC's configuration and ignore files.

    Raises:
        GraftError: a setting or a strategy does not exist.
    """
    return {
        str(PARAMS): _edited(PARAMS, parameter_edits(answers), reasons(answers)),
        str(GRAPH): shipped_text(str(GRAPH)),
        str(MLFLOW): _edited(
            MLFLOW, [(("tracking", "experiment"), answers.name), (("registry", "model"), answers.name)]
        ),
        str(PREFECT): _edited(PREFECT, _deployment(answers)),
        NOTE_ON_WEIGHTS: shipped_text(NOTE_ON_WEIGHTS),
    }


def config(*, has_git: bool) -> str:
    """DVC's configuration."""
    text = shipped_text(".dvc/config")
    return text if has_git else f"{text.rstrip()}\n    no_scm = true\n"


def extended(text: str, lines: Iterable[str]) -> str:
    """The text of an ignore file with the missing ones of `lines` appended."""
    missing = [line for line in lines if line not in text.splitlines()]
    if not missing:
        return text
    return "\n".join(filter(None, [text.rstrip(), "# Graft", *missing])) + "\n"


def _deployment(answers: Answers) -> list[Edit]:
    schedules = [{"cron": answers.schedule, "timezone": "UTC"}] if answers.schedule else []
    first: tuple[Any, ...] = ("deployments", 0)
    edits: list[Edit] = [
        (("name",), answers.name),
        ((*first, "entrypoint"), FLOW),
        ((*first, "work_pool", "name"), answers.name),
    ]
    if schedules != yaml.safe_load(shipped_text(str(PREFECT)))["deployments"][0]["schedules"]:
        edits.append(((*first, "schedules"), schedules))
    return edits


def _edited(name: Path, edits: Iterable[Edit], why: Iterable[tuple[Path_, str]] = ()) -> str:
    try:
        return with_values(shipped_text(str(name)), edits, why)
    except KeyError as error:
        raise GraftError(f"{name}: the shipped file has no key {error.args[0]} to set") from None
