"""`graft init`: the questions, and what to do next."""

import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer
import yaml
from rich.console import Console
from rich.text import Text

from tasks.common.errors import GraftError
from tasks.new_project.answers import STRATEGIES, Answers, Edit, is_large
from tasks.new_project.create import create, refuse_what_is_there
from tasks.settings.prepare import NO_SOURCE, PrepareSettings
from tasks.settings.yaml_sections import read_section

T = TypeVar("T")
NO_SCHEDULE = "none"
NIGHTLY = "0 2 * * *"


@dataclass(frozen=True)
class Flags:
    """What the flags say; None where one was not given."""

    name: str | None
    weights: str | None
    backbone: str | None
    image_size: int | None
    channels: int | None
    flip: bool | None
    labels: str | None
    seeds: str | None
    strategies: str | None
    schedule: str | None
    settings: list[str]
    git: bool | None


def start_project(folder: Path, given: Flags, console: Console, *, ask: bool) -> None:
    """Ask what the flags leave open, if `ask`; make the project and say what to type next.

    Raises:
        GraftError: the folder holds what would be replaced, or an answer cannot be used.
    """
    refuse_what_is_there(folder)
    answers, git = settle(folder, given, ask=ask)
    made = create(folder, answers, git=git)
    console.print(f"Made the project [bold]{answers.name}[/] in {folder.resolve()}", highlight=False)
    console.print(f"  new: {', '.join(made.written)}", highlight=False)
    if made.extended:
        console.print(f"  extended: {', '.join(made.extended)}", highlight=False)
    if made.made_repository:
        console.print("  git: an empty repository; nothing is committed yet")
    console.print(Text("\nNext, in a terminal:\n"))
    console.print(Text("\n".join(f"  {line}" for line in next_steps(folder))), soft_wrap=True)


def settle(folder: Path, given: Flags, *, ask: bool) -> tuple[Answers, bool]:
    """The answers: those that the flags give, then those of the user, else the defaults; and whether git is wanted.

    Raises:
        GraftError: a list or a setting cannot be read.
    """

    def answer(value: str | T | None, question: str, default: Any, read: Callable[[Any], T]) -> T:
        if value is not None or not ask:
            return read(default if value is None else value)
        answered: T = typer.prompt(question, default=default, value_proc=lambda text: _or_again(read, text))
        return answered

    name = answer(given.name, "Name of the project, and of its registered model", _name(folder), str)
    weights = answer(given.weights, "Weights to start from (none: random ones, trained on the source)", "none", str)
    weights = "" if weights == "none" else weights
    backbone = answer(given.backbone, "Network", "convnet_small", str)
    image_size = answer(
        given.image_size, "Size of the images, in pixels", 224 if is_large(backbone, weights) else 32, _whole
    )
    channels = answer(given.channels, "Channels: 1 grey, 3 colour", 3, _whole)
    flip = answer(given.flip, "Is a mirrored image still one of its class (yes, no)", "yes", _yes)
    labels = answer(given.labels, "Labels per class to learn from", "1,5,10", _budgets)
    seeds = answer(given.seeds, "Seeds", "0,1,2", _numbers)
    strategies = answer(given.strategies, "Strategies", ",".join(STRATEGIES), _names)
    schedule = answer(given.schedule, "Schedule as a cron line (none: by hand)", NIGHTLY, _cron)
    git = answer(given.git, "A git repository, if the folder is in none (yes, no)", "yes", _yes)
    return (
        Answers(
            name=name,
            backbone=backbone,
            weights=weights,
            image_size=image_size,
            channels=channels,
            flip=flip,
            labels=labels,
            seeds=seeds,
            strategies=strategies,
            schedule=schedule,
            settings=tuple(_setting(text) for text in given.settings),
        ),
        git,
    )


def next_steps(folder: Path) -> list[str]:
    """What to type after `graft init`."""
    graft = shlex.quote(_command())
    first = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    if (folder / "data").exists():
        return [*first, f"{graft} data check", f"{graft} run --update-data"]
    params = folder / "params.yaml"
    settings = read_section(params, "prepare", PrepareSettings) if params.exists() else PrepareSettings()
    alone = settings.source in (NO_SOURCE, settings.target)  # both domains come in one folder, or there is no source
    source = [] if alone else [f"{graft} data add source PATH"]
    return [*first, *source, f"{graft} data add target PATH", f"{graft} run"]


def _command() -> str:
    """How this program is called from another folder."""
    called = Path(sys.argv[0])
    found = shutil.which("graft")
    if called.name != "graft" or (found and Path(found).resolve() == called.resolve()):
        return "graft"
    return str(called.absolute())


def _or_again(read: Callable[[Any], T], text: str) -> T:
    try:
        return read(text)
    except GraftError as error:
        raise typer.BadParameter(str(error)) from None


def _name(folder: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-.") or "graft"


def _whole(text: str | int) -> int:
    try:
        return int(text)
    except ValueError:
        raise GraftError(f"{text!r} is not a whole number") from None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_whole(part) for part in _names(text))


def _budgets(text: str) -> tuple[int | str, ...]:
    """Numbers; what else may stand there is checked with params.yaml."""
    return tuple(int(part) if part.isdigit() else part for part in _names(text))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _yes(text: str | bool) -> bool:
    if isinstance(text, bool):
        return text
    if text.lower() not in ("y", "yes", "n", "no"):
        raise GraftError(f"{text!r} is neither yes nor no")
    return text.lower().startswith("y")


def _cron(text: str) -> str:
    """A cron line, or nothing for `none`."""
    if text in ("", NO_SCHEDULE):
        return ""
    if text != NIGHTLY:
        from prefect.client.schemas.schedules import CronSchedule

        try:
            CronSchedule(cron=text)
        except ValueError:
            raise GraftError(f"{text!r} is not a cron line, such as '{NIGHTLY}' (every night at two)") from None
    return text


def _setting(text: str) -> Edit:
    """`prepare.on_error=skip`: a key of params.yaml, and its value as YAML."""
    key, equals, value = text.partition("=")
    if not (equals and all(key.split("."))):
        raise GraftError(f"--set {text!r}: expected KEY=VALUE, such as prepare.on_error=skip")
    try:
        return tuple(key.split(".")), yaml.safe_load(value)
    except yaml.YAMLError:
        raise GraftError(f"--set {text!r}: {value!r} is not a YAML value") from None
