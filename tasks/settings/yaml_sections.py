"""Read a section of `params.yaml` into its frozen dataclass; refuse what does not fit, all problems at once."""

import difflib
import json
from collections.abc import Collection, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from tasks.common.errors import GraftError
from tasks.common.yaml_files import load_yaml

T = TypeVar("T")


def read_section(path: Path, section: str, kind: type[T]) -> T:
    """Section `section` of a YAML file as a `kind`; a missing section has every default."""
    section_values = load_yaml(path).get(section)
    return cast(T, parse({} if section_values is None else section_values, kind, where=f"{path.name}: {section}"))


def parse(values: object, kind: Any, *, where: str) -> Any:
    """`values` as a `kind` (a frozen dataclass or a type such as `list[int]`).

    Raises:
        GraftError: unknown keys (with the nearest valid one), values of a wrong type or out of range; all of them.
    """
    problems = [*_unknown_keys(values, kind, where)]
    try:
        # Through JSON, because pydantic's strict mode takes mappings as dataclasses from JSON alone.
        parsed = TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        problems += [_explain(fault, where) for fault in error.errors(include_url=False)]
    if problems:
        raise GraftError(problems)
    return parsed


def _unknown_keys(values: object, kind: Any, where: str) -> Iterator[str]:
    if get_origin(kind) is list and isinstance(values, list):
        for place, value in enumerate(values, 1):
            yield from _unknown_keys(value, get_args(kind)[0], f"{where}, entry {place}")
    if not (is_dataclass(kind) and isinstance(values, dict)):
        return
    types = get_type_hints(kind)
    valid = [field.name for field in fields(kind) if field.init]
    for key, value in values.items():
        if key not in valid:
            yield f"{where}.{key}: unknown key; {suggest(str(key), valid)}"
        else:
            yield from _unknown_keys(value, types[key], f"{where}.{key}")


def _explain(fault: ErrorDetails, where: str) -> str:
    place = where
    for part in fault["loc"]:
        place += f", entry {part + 1}" if isinstance(part, int) else f".{part}"
    given = fault["input"]
    return f"{place}: {fault['msg'][0].lower()}{fault['msg'][1:]}, got {given!r}{_remedy(fault['type'], given)}"


def _remedy(kind: str, given: object) -> str:
    """What to write instead, where that can be told."""
    return f"; write [{given}]" if kind == "list_type" and isinstance(given, int | float | str) else ""


def suggest(name: str, valid: Collection[str]) -> str:
    """'did you mean …?' if a valid name is near, and the valid names in any case."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    choices = "valid: " + ", ".join(sorted(valid)) if valid else "it takes no keys"
    return f"did you mean {near[0]!r}? ({choices})" if near else choices
