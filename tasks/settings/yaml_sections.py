"""Read a section of `params.yaml` into its frozen dataclass; refuse what does not fit, all problems at once."""

import difflib
import json
import math
from collections.abc import Collection, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from tasks.common.errors import GraftError

T = TypeVar("T")

MOST_VALUES = 10_000
"""Of a YAML file: a kilobyte of anchors can stand for millions."""


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        GraftError: the file is missing, is not YAML, names a key twice, or holds something else than a mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)  # noqa: S506  (a SafeLoader)
    except FileNotFoundError:
        raise GraftError(f"{path.name}: there is no such file", "Run this in a Graft project's top folder.") from None
    except OSError as error:
        raise GraftError(f"{path.name}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise GraftError(f"{path.name}: nested too deeply") from None
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, TypeError) as error:
        # PyYAML lets the last of them through where a value is not of the kind that its tag says: !!int ''
        raise GraftError(f"{path.name}: {_explain_yaml(error)}") from None
    if fault := _unfit(content):
        raise GraftError(f"{path.name}: {fault}")
    if not isinstance(content, dict):
        raise GraftError(f"{path.name}: expected a mapping of sections, found {type(content).__name__}")
    return content


def _unfit(content: object) -> str:
    """Why a document cannot be used, whatever it is about: too many values, or text that no path or name can be."""
    waiting, count = [content], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            return f"holds more than {MOST_VALUES:,} values, those that anchors repeat included"
        if isinstance(value, str) and "\0" in value:
            return f"{value[:40]!r} holds a null byte"
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return ""


def _explain_yaml(error: Exception) -> str:
    """Line, column and problem in a sentence, without PyYAML's drawing of the place."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"not valid YAML: {' '.join(str(error).split())}"
    mark, begun = error.problem_mark, error.context_mark
    since = f", {error.context} that begins in line {begun.line + 1}" if error.context and begun else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: not valid YAML: {error.problem}{since}"


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
    if kind == "list_type" and isinstance(given, int | float | str):
        return f"; write [{given}]"
    if kind in ("float_type", "int_type") and isinstance(given, str) and (ways := _as_numbers(given)):
        return f"; YAML reads this as text: write {' or '.join(ways)}"
    return ""


def _as_numbers(text: str) -> list[str]:
    """How YAML 1.1 wants a number written: with a point and a signed exponent; nothing if the text is no number."""
    try:
        number = float(text)
    except ValueError:
        return []
    if not math.isfinite(number):
        return []
    mantissa, _, exponent = text.strip().lower().partition("e")
    plain = f"{number:.0f}" if number.is_integer() else repr(number)
    ways = [] if "e" in plain else [plain]
    if exponent and not number.is_integer():
        ways.append(f"{mantissa if '.' in mantissa else f'{mantissa}.0'}e{int(exponent):+d}")
    return ways


def suggest(name: str, valid: Collection[str]) -> str:
    """'did you mean …?' if a valid name is near, and the valid names in any case."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    choices = "valid: " + ", ".join(sorted(valid)) if valid else "it takes no keys"
    return f"did you mean {near[0]!r}? ({choices})" if near else choices


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML lets a later key overwrite an earlier one silently; here that is a problem."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is no text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
