"""The pages under Reference, written from the code whenever the site is built; `mkdocs.yml` names this file as a hook.

The commands come from the `graft` command itself, the keys from the frozen dataclasses that read the four YAML files,
the knobs from the strategies. So a page cannot say what the code does not do.
"""

import inspect
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types as at
import typer
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from flows.cli import app
from flows.views.strategies import FAMILIES, family, said_of_fields, searched
from graft.strategies import strategy_class, strategy_names
from tasks.checks.parameters import SECTIONS
from tasks.executor.resources.stage_meta import Needs
from tasks.settings.mlflow import VARIABLES, MlflowSettings
from tasks.settings.prefect import Deployment

Row = tuple[str, ...]
"""Name, value, default and meaning."""
ROOT = Path(__file__).parents[1]
TOP_LEVEL = {
    "seeds": ("list of integers ≥ 0", "Every strategy runs once with each; intervals and verdicts come from them."),
    "label_budgets": (
        "list of integers ≥ 1, or the word `all`",
        "Labels per class to learn from. Every strategy under `strategies` runs with each. `all` takes every label "
        "that is not held out for validation.",
    ),
    "strategies": (
        "mapping of names to knobs",
        "Strategies that learn from labels, each with its [knobs](strategies.md); `{}` takes the defaults. `scratch` "
        "has to be among them.",
    ),
    "label_free": ("mapping of names to knobs", "Strategies that need no label of the target."),
    "sources": (
        "mapping of names to keys",
        "Further source models. Each takes the keys of `pretrain`, and those of `prepare` that begin with `source`; "
        "what it does not say is as there, but `weights`, `weights_sha256` and `learn`, which have their defaults.",
    ),
    "use": ("`pretrained`, `best`, or a name of `sources`", "The source model that the trials begin with."),
    "every_source": (
        "list of names of `strategies`",
        "Strategies that begin with each further source model too, to be compared with all others.",
    ),
}
"""Keys of params.yaml that are no section of their own: range and meaning. The value in params.yaml is the default."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site."""
    for name, text in pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def pages() -> dict[str, str]:
    """Every page of the reference, by name."""
    return {
        "commands": _commands(),
        "params": _params(),
        "mlflow": _mlflow(),
        "prefect": _prefect(),
        "dvc": _dvc(),
        "strategies": _strategies(),
    }


def _commands() -> str:
    group = typer.main.get_command(app)
    parts = ["# Commands", _plain(group.help), _table("Option", _options(group))]
    return "\n\n".join([*parts, *_of_group(group, "graft")]) + "\n"


def _of_group(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        called = f"{path} {name}"
        if hasattr(command, "commands"):
            yield from _of_group(command, called)
            continue
        positional = [_shown(each) for each in command.params if not each.opts[0].startswith("-")]
        yield f"## {called}"
        yield f"`{' '.join([called, *positional])}`: {_plain(command.help)}"
        if rows := [*_options(command)]:
            yield _table("Name", rows)
        yield _plain(command.epilog).replace("   ·   ", " · ")


def _options(command: Any) -> Iterator[Row]:
    for each in command.params:
        default = "required" if each.required else "" if each.default is None else _yaml(each.default)
        said = _plain(each.help)
        if each.envvar:
            said += f" In the environment: `{each.envvar}`."
        marks = [at.Ge(each.min)] if getattr(each, "min", None) is not None else []
        marks += [at.Le(each.max)] if getattr(each, "max", None) is not None else []
        flag = getattr(each, "is_flag", False)
        yield f"`{_shown(each)}`", "" if flag else _kind(each.type_descriptor.annotation, marks), default, said


def _shown(parameter: Any) -> str:
    """How a parameter is written: an option with all its names, or the word for an argument."""
    names = [*parameter.opts, *parameter.secondary_opts]
    if not names[0].startswith("-"):
        return parameter.metavar or parameter.name.upper()
    return ", ".join(names) + (f" {parameter.metavar}" if parameter.metavar else "")


def _params() -> str:
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    rows = [(f"`{key}`", kind, _yaml(values[key]), said) for key, (kind, said) in TOP_LEVEL.items()]
    parts = [
        "# params.yaml",
        "Every number that an experiment may change. A key of a section that is left out has its default; the demo's "
        "own `params.yaml`, and the one that `graft init` writes, set some of them otherwise.",
        _table("Key", rows, default="In the demo"),
    ]
    for section, kind in SECTIONS.items():
        parts += [f"## {section}", _plain(inspect.getdoc(kind)), _table("Key", _keys(kind, section))]
    return "\n\n".join(parts) + "\n"


def _mlflow() -> str:
    variables = {key: f" In the environment: `{name}`." for name, key in VARIABLES.items()}
    rows = [(key, *middle, said + variables.get(key.strip("`"), "")) for key, *middle, said in _keys(MlflowSettings)]
    return "\n\n".join(
        [
            "# mlflow.yaml",
            "MLflow as a project uses it. MLflow itself does not read this file; `graft` does. A variable of the "
            "environment overrides its key. User names and passwords never stand here: give "
            "`MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, or `MLFLOW_TRACKING_TOKEN`, in the "
            "environment.",
            _table("Key", rows) + "\n",
        ]
    )


def _prefect() -> str:
    return "\n\n".join(
        [
            "# prefect.yaml",
            "When the flow runs by itself. `name` is the project's name for Prefect; `deployments` is a list of at "
            "least one entry with the keys below. Prefect reads the same file and knows more keys; Graft leaves those "
            "to it, `entrypoint` among them.",
            _table("Key", _keys(Deployment, "deployments[]")),
            "Of `cron`, `interval` and `rrule` each schedule gives one. [Run on a schedule](../how-to/schedule.md) "
            "says what the parameters do.\n",
        ]
    )


def _dvc() -> str:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    parts = [
        "# dvc.yaml and code.yaml",
        "`dvc.yaml` is the only definition of the graph; its form is DVC's own. `meta:` of a stage is Graft's: DVC "
        "keeps it and never reads it, so an edit of it reruns nothing.",
        _table("Key of meta", _meta()),
        "## Stages",
    ]
    for name, stage in stages.items():
        parts.append(f"### {name}\n\n{stage['desc'][0].upper()}{stage['desc'][1:]}.\n\n{_stage(stage)}")
    parts += [
        "## code.yaml",
        "The code that the stages run, as hashes. `graft run` and `graft status` bring it up to date; do not edit it, "
        "and keep it in git. Each stage has its entry as a parameter, so it runs again when its code has changed.",
        _table(
            "Key",
            [
                ("`graft`", "version", "", "The version of Graft that wrote the file."),
                ("`stages.STAGE`", "hash", "", "Of the stage's code: all that its module imports of Graft."),
                ("`strategies.NAME`", "hash", "", "Of the strategy's code, Graft's own or in `strategies/`."),
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _meta() -> Iterator[Row]:
    said = dict(
        re.findall(r"^    (\w+): (.*?)(?=\n    \w+: |\Z)", inspect.getdoc(Needs) or "", re.DOTALL | re.MULTILINE)
    )
    ranges = {"threads": "integer ≥ 1", "device": "number > 0 and ≤ 1, or `cpu`", "retries": "integer ≥ 0"}
    for each in fields(Needs):
        yield f"`{each.name}`", ranges[each.name], _yaml(each.default), " ".join(said[each.name].split())


def _stage(stage: dict[str, Any]) -> str:
    names = [
        entry if isinstance(entry, str) else ", ".join(entry) for entry in (*stage["outs"], *stage.get("metrics", ()))
    ]
    params = [entry for entry in stage.get("params", ()) if isinstance(entry, str)]
    rows = [
        ("command", f"`{stage['cmd']}`"),
        ("matrix", ", ".join(f"`{key}`: `{value}`" for key, value in stage.get("matrix", {}).items())),
        ("reads", ", ".join(f"`{name}`" for name in stage["deps"])),
        ("parameters", ", ".join(f"`{name}`" for name in params)),
        ("makes", ", ".join(f"`{name}`" for name in names)),
        ("meta", ", ".join(f"`{key}: {value}`" for key, value in stage.get("meta", {}).items())),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {said} |" for name, said in rows if said)])


def _strategies() -> str:
    parts = ["# Strategies and their knobs", "`graft strategies NAME` prints the same in the terminal."]
    by_family: dict[str, list[str]] = {}
    for name in strategy_names():
        by_family.setdefault(family(name), []).append(name)
    for title in FAMILIES:
        parts.append(f"## {title}")
        parts += [_strategy(name) for name in by_family.get(title, ())]
    return "\n\n".join(parts) + "\n"


def _strategy(name: str) -> str:
    kind = strategy_class(name)
    section = "strategies" if kind.uses_labels else "label_free"
    said = re.sub(r"(?<![`\w])([*_|<>])", r"\\\1", inspect.getdoc(kind) or "")
    knobs = _table("Knob", _keys(kind)) if fields(kind) else "No knobs."
    where = " ".join([f"Listed under `{section}:`.", *(text.plain for text in searched(kind))])
    return f"### {name}\n\n{said}\n\n{where}\n\n{knobs}"


def _keys(kind: Any, path: str = "") -> Iterator[Row]:
    """A row for each field of a dataclass, nested ones with their path."""
    said, hints = said_of_fields(kind), get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        key, hint = ".".join(filter(None, [path, each.name])), hints[each.name]
        inner = get_args(hint)[0] if get_origin(hint) is list else hint
        if is_dataclass(inner):
            yield from _keys(inner, f"{key}[]" if inner is not hint else key)
            continue
        yield f"`{key}`", _kind(hint), _default(each), said.get(each.name, "")


def _default(each: Field[Any]) -> str:
    if each.default_factory is not MISSING:
        return _yaml(each.default_factory())
    return "required" if each.default is MISSING else _yaml(each.default)


def _kind(hint: Any, marks: Sequence[object] = ()) -> str:
    """A type in words, with its range."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _kind(arguments[0], arguments[1:])
    if limits := [text for mark in marks if (text := _limit(mark))]:
        return f"{_kind(hint)} {' and '.join(limits)}"
    if origin is Literal:
        return ", ".join(_yaml(value) for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_kind(each) for each in arguments if each is not NoneType)
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    words = {bool: "`true`, `false`", int: "integer", float: "number", str: "text", dict: "mapping", Path: "path"}
    return words.get(origin or hint, "any")


def _limit(mark: object) -> str:
    match mark:
        case at.Ge(ge=value):
            return f"≥ {_number(value)}"
        case at.Gt(gt=value):
            return f"> {_number(value)}"
        case at.Le(le=value):
            return f"≤ {_number(value)}"
        case at.Lt(lt=value):
            return "" if value == math.inf else f"< {_number(value)}"
        case at.MinLen():
            return "that is not empty"
    return ""


def _number(value: Any) -> str:
    return "2³²" if value == 2**32 else f"{value:g}" if isinstance(value, float) else str(value)


def _yaml(value: object) -> str:
    """A value as it stands in a YAML file."""
    if value is None:
        return ""
    return f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value)}`"


def _plain(text: str | None) -> str:
    """Help of a command as Markdown: what is bold in a terminal is code here."""
    return re.sub(r"\[bold\](.*?)\[/(?:bold)?\]", r"`\1`", " ".join((text or "").split()))


def _table(first: str, rows: Iterable[Row], default: str = "Default") -> str:
    lines = [f"| {first} | Value | {default} | Meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows)])
