"""Sections `sources` and `use` of `params.yaml`: further source models, and the one that the trials start from."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from tasks.common.errors import GraftError
from tasks.common.yaml_files import load_yaml
from tasks.settings.forecast import OWN
from tasks.settings.prepare import PrepareSettings
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.yaml_sections import parse, suggest

BEST = "best"
"""Let the forecast choose."""
_TAKEN = (OWN, BEST, "weights")
_OF_DATA = tuple(field.name for field in fields(PrepareSettings) if field.name.startswith("source"))
"""Keys of section `prepare` that a further source may set."""
_OWN = ("weights", "weights_sha256", "learn")
"""Keys of section `pretrain` that a further source does not inherit."""
_INHERITED = tuple(field.name for field in fields(PretrainSettings) if field.name not in _OWN)


def source_names(params: Path) -> list[str]:
    """The further sources, by name.

    Raises:
        GraftError: a name is taken or has characters that are not allowed.
    """
    sources = parse(load_yaml(params).get("sources") or {}, dict[str, dict[str, Any]], where=f"{params.name}: sources")
    problems = [
        f"{params.name}: sources.{name}: the name is taken; choose another" for name in sources if name in _TAKEN
    ]
    problems += [
        f"{params.name}: sources.{name}: a name may only have letters, digits, '-' and '_'"
        for name in sources
        if not name.replace("-", "").replace("_", "").isalnum()
    ]
    if problems:
        raise GraftError(problems)
    return list(sources)


def read_source(params: Path, name: str) -> tuple[PrepareSettings | None, PretrainSettings]:
    """How the images of a source are packed, None if it has none of its own; and how its model is made.

    Keys that `sources.NAME` does not set have the values of `prepare` and `pretrain`.

    Raises:
        GraftError: unknown keys or invalid values; lists all of them.
    """
    content, where = load_yaml(params), f"{params.name}: sources.{name}"
    given: dict[str, Any] = content["sources"][name]
    of_data = {key: value for key, value in given.items() if key in _OF_DATA}
    of_model = {key: value for key, value in given.items() if key not in _OF_DATA}
    valid = [*_OF_DATA, *_INHERITED, *_OWN]
    problems = [f"{where}.{key}: unknown key; {suggest(key, valid)}" for key in of_model if key not in valid]
    of_model = {key: value for key, value in of_model.items() if key in valid}
    inherited = {key: value for key, value in content.get("pretrain", {}).items() if key in _INHERITED}
    found: list[Any] = []
    for values, kind in (
        ({**content.get("prepare", {}), **of_data}, PrepareSettings),
        ({**inherited, **of_model}, PretrainSettings),
    ):
        try:
            found.append(parse(values, kind, where=where))
        except GraftError as error:
            problems += error.problems
    if problems:
        raise GraftError(problems)
    data, model = found
    return data if of_data else None, model


def read_use(params: Path) -> str:
    """The source model that the trials start from: `pretrained`, `best`, or the name of a further one.

    Raises:
        GraftError: there is no source model with that name.
    """
    use, valid = load_yaml(params).get("use", OWN), [OWN, BEST, *source_names(params)]
    if use not in valid:
        raise GraftError(f"{params.name}: use: unknown source model {use!r}; {suggest(str(use), valid)}")
    return str(use)
