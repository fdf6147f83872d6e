"""`graft init`: the questions, and the next steps."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from tasks.common.errors import GraftError
from tasks.common.places import PARAMS, RAW_DATA
from tasks.common.yaml_files import read_strict_yaml
from tasks.new_project.answers import Answers, Edit, is_large, usual_strategies
from tasks.new_project.create import create, refuse_what_is_there
from tasks.new_project.presets import PRESETS, STANDARD, Preset
from tasks.results.words import counted
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
    presets: tuple[str, ...] = ()
    """Names of those asked for; one at most."""

    @property
    def preset(self) -> Preset:
        """The one that is asked for, or the standard one.

        Raises:
            GraftError: several are.
        """
        if len(self.presets) > 1:
            raise GraftError(f"{' and '.join(f'--{name}' for name in self.presets)}: choose one of them")
        return PRESETS[self.presets[0] if self.presets else STANDARD]


def start_project(folder: Path, given: Flags, console: Console, *, ask: bool) -> None:
    """Ask for what the flags leave open, if `ask`; create the project and print the next steps.

    Raises:
        GraftError: the folder has files that would be replaced, or an answer is not valid.
    """
    refuse_what_is_there(folder)
    answers, git = settle(folder, given, ask=ask)
    made = create(folder, answers, git=git)
    console.print(f"Created the project [bold]{answers.name}[/] in {folder.resolve()}", highlight=False)
    console.print(f"  new: {', '.join(made.written)}", highlight=False)
    if made.extended:
        console.print(f"  extended: {', '.join(made.extended)}", highlight=False)
    if made.made_repository:
        console.print("  git: a new repository; nothing is committed yet")
    if given.presets:
        console.print(f"  {given.presets[0]}: {_effort_in_words(folder)}", highlight=False)
    console.print(Text("\nNext, in a terminal:\n"))
    console.print(Text("\n".join(f"  {line}" for line in next_steps(folder))), soft_wrap=True)


def settle(folder: Path, given: Flags, *, ask: bool) -> tuple[Answers, bool]:
    """The answers, from the flags, else from the user, else the defaults; and whether to initialise git.

    Raises:
        GraftError: a list or a setting cannot be read.
    """

    def answer(value: str | T | None, question: str, default: Any, read: Callable[[Any], T]) -> T:
        if value is not None or not ask:
            return read(default if value is None else value)
        answered: T = typer.prompt(question, default=default, value_proc=lambda text: _or_again(read, text))
        return answered

    preset = given.preset
    name = answer(given.name, "Name of the project and of its registered model", _name(folder), str)
    weights = answer(given.weights, "Weights to start from (none: random weights)", "none", str)
    weights = "" if weights == "none" else weights
    backbone = answer(given.backbone, "Network", "convnet_small", str)
    image_size = answer(
        given.image_size, "Size of the images, in pixels", 224 if is_large(backbone, weights) else 32, _whole
    )
    channels = answer(given.channels, "Channels: 1 grey, 3 colour", 3, _whole)
    flip = answer(given.flip, "Does a mirrored image keep its class (yes, no)", "yes", _yes)
    labels = answer(given.labels, "Label budgets: labels per class to learn from", "1,5,10", _budgets)
    seeds = answer(given.seeds, "Seeds", ",".join(map(str, preset.seeds)), _numbers)
    strategies = answer(
        given.strategies, "Strategies", ",".join(preset.strategies(usual_strategies(backbone, weights))), _names
    )
    schedule = answer(given.schedule, "Schedule as a cron line (none: run by hand)", NIGHTLY, _cron)
    git = answer(given.git, "Initialise a git repository, unless the folder is inside one (yes, no)", "yes", _yes)
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
            settings=(*preset.settings, *(_setting(text) for text in given.settings)),
        ),
        git,
    )


def next_steps(folder: Path) -> list[str]:
    """The commands to type after `graft init`."""
    graft = shlex.quote(_command())
    first = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    if (folder / RAW_DATA).exists():
        return [*first, f"{graft} data check", f"{graft} run --update-data"]
    params = folder / PARAMS
    settings = read_section(params, "prepare", PrepareSettings) if params.exists() else PrepareSettings()
    alone = settings.source in (NO_SOURCE, settings.target)  # both domains are in one folder, or there is no source
    source = [] if alone else [f"{graft} data add source PATH"]
    return [*first, *source, f"{graft} data add target PATH", f"{graft} run"]


def _effort_in_words(folder: Path) -> str:
    """'63 trials with 99 trainings, which take about 25 minutes on 2 cores of this machine'."""
    from tasks.trials.effort import effort

    found = effort(folder)
    trials = f"{counted(found.trials, 'trial')} with {counted(found.trainings, 'training')} of a backbone"
    if found.seconds is None:
        return f"{trials}: {found.images:,} images forward and backward; the time is known once the weights are loaded"
    cores = os.cpu_count() or 1
    minutes = max(1, round(found.seconds / 60 / cores))
    took = f"{minutes} min" if minutes < 100 else f"{minutes / 60:.0f} h"
    return f"{trials}, which take about {took} on the {counted(cores, 'core')} of this machine"


def _command() -> str:
    """How to call this program from another folder."""
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
    """Numbers as numbers; other words are checked together with params.yaml."""
    return tuple(int(part) if part.isdigit() else part for part in _names(text))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _yes(text: str | bool) -> bool:
    if isinstance(text, bool):
        return text
    if text.lower() not in ("y", "yes", "n", "no"):
        raise GraftError(f"{text!r} is not valid; valid: yes, no")
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
            raise GraftError(
                f"{text!r} is not a valid cron line; an example: '{NIGHTLY}' (every night at two)"
            ) from None
    return text


def _setting(text: str) -> Edit:
    """`prepare.on_error=skip`: a key of params.yaml, and its value as YAML."""
    key, equals, value = text.partition("=")
    if not (equals and all(key.split("."))):
        raise GraftError(f"--set {text!r}: expected KEY=VALUE, such as prepare.on_error=skip")
    try:
        return tuple(key.split(".")), read_strict_yaml(value)
    except Exception:  # which a parser lets through where a value does not fit its tag
        raise GraftError(f"--set {text!r}: {value!r} is not a valid YAML value") from None
