"""Read and write the project's YAML files as DVC does: YAML 1.2, by ruamel.yaml and libyaml.

In YAML 1.2 `010` is 10, `0o17` is 15, `1e-3` is a number, and `on`, `off`, `yes` and `no` are text. Merge keys (`<<`)
are filled in, as DVC fills them in. `prefect.yaml` alone is read in another way: tasks/settings/prefect.py.
"""

import io
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag

from tasks.common.errors import GraftError
from tasks.common.read_once import read_once

MOST_VALUES = 10_000
"""Of a settings file: a kilobyte of anchors can stand for millions."""
MOST_LEVELS = 100
"""Of nesting: libyaml calls itself for each level, until the process crashes."""
_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(text: str) -> Any:
    """The values in a YAML text, as DVC reads them.

    Raises:
        Exception: of many kinds, where the text is not valid YAML; `explain` puts it into words.
    """
    return _parser(SafeConstructor).load(text)


def read_strict_yaml(text: str) -> Any:
    """The same, but every key is text and stands once in its mapping, and merge keys cannot make millions of values.

    Raises:
        Exception: as above.
    """
    return _parser(_StrictConstructor).load(text)


@read_once
def load_yaml(path: Path, read: Callable[[str], Any] = read_strict_yaml) -> dict[str, Any]:
    """The mapping in a settings file. It is read once as long as the file is unchanged: never change what this returns.

    Raises:
        GraftError: the file is missing, is not YAML, names a key twice, or holds something else than a mapping.
    """
    try:
        content = read(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GraftError(f"{path.name}: there is no such file", "Run this in a Graft project's top folder.") from None
    except OSError as error:
        raise GraftError(f"{path.name}: cannot be read: {error.strerror}") from None
    except Exception as error:  # where a value does not fit its tag, parsers let any exception through: !!int ''
        raise GraftError(f"{path.name}: {explain(error)}") from None
    if problem := _unfit(content):
        raise GraftError(f"{path.name}: {problem}")
    if not isinstance(content, dict):
        raise GraftError(f"{path.name}: expected a mapping of sections, found {type(content).__name__}")
    return content


def yaml_text(content: dict[str, Any]) -> str:
    """`content` as YAML that reads back as the same values, in its own order."""
    writer, text = YAML(), io.StringIO()
    writer.width = 10_000
    writer.dump(content, text)
    return text.getvalue()


def explain(error: Exception) -> str:
    """Line, column and problem in a sentence, without the parser's drawing of the place."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    mark, context = getattr(error, "problem_mark", None), getattr(error, "context", None)
    if mark is None:
        return f"not valid YAML: {' '.join(str(error).split()) or type(error).__name__}"
    begun = getattr(error, "context_mark", None)
    since = f", {context} that begins in line {begun.line + 1}" if context and begun else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: not valid YAML: {getattr(error, 'problem', error)}{since}"


def _unfit(content: object) -> str:
    """Why a document cannot be used, whatever it is about: too many values, or text that no path or name can be."""
    waiting, count = [content], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MOST_VALUES:
            return _TOO_MANY
        for text in value if isinstance(value, dict | set) else [value]:
            if isinstance(text, str) and "\0" in text:
                return f"{text[:40]!r} holds a null byte"
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return ""


_TOO_MANY = f"holds more than {MOST_VALUES:,} values, those that anchors repeat included"


class StrictKeysError(Exception):
    """What is wrong in a YAML text, and where."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem)
        self.problem, self.problem_mark = problem, mark


class StrictKeys:
    """To be mixed into the constructor of a YAML library: YAML lets a later key silently overwrite an earlier one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._checked: set[int] = set()
        self._merged = 0

    def flatten_mapping(self: Any, node: Any) -> None:
        """Fill in merge keys; called before any mapping is made."""
        if id(node) not in self._checked:
            self._checked.add(id(node))
            self._check_keys(node)
            self._count_merged(node)
        super().flatten_mapping(node)  # type: ignore[misc]  # a constructor has it

    def _check_keys(self: Any, node: Any) -> None:
        seen = set()
        for key_node, _ in node.value:
            key = "<<" if key_node.tag == _MERGE else self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise StrictKeysError(f"key {key!r} is no text", key_node.start_mark)
            if key in seen:
                raise StrictKeysError(f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)

    def _count_merged(self: Any, node: Any) -> None:
        """Before they are filled in: mappings that merge each other grow with every level."""
        for key_node, value in node.value:
            if key_node.tag == _MERGE and isinstance(value.value, list):
                for part in value.value if value.id == "sequence" else [value]:
                    if part.id == "mapping":
                        self.flatten_mapping(part)
                        self._merged += len(part.value)
                    if self._merged > MOST_VALUES:
                        raise StrictKeysError(_TOO_MANY, key_node.start_mark)


class _StrictConstructor(StrictKeys, SafeConstructor):
    pass


class _Resolver(VersionedResolver):
    """Gives a scalar the type that DVC's gives it, in half the time, and refuses what is nested too deeply."""

    _level = 0

    @cached_property
    def _rules(self) -> dict[str, list[tuple[Any, Any]]]:
        """By a scalar's first character. They are those of a YAML version, and to ask for it takes long."""
        rules: dict[str, list[tuple[str, Any]]] = self.versioned_resolver
        return {first: [(Tag(suffix=tag), pattern) for tag, pattern in found] for first, found in rules.items()}

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """The tag of a node."""
        if kind is not ScalarNode:
            return super().resolve(kind, value, implicit)
        found = self._rules.get(value[:1], ()) if implicit[0] else ()
        return next((tag for tag, pattern in found if pattern.match(value)), self.DEFAULT_SCALAR_TAG)

    def descend_resolver(self, _node: Any, _index: Any) -> None:
        """Called where a node begins."""
        self._level += 1
        if self._level > MOST_LEVELS:
            raise RecursionError

    def ascend_resolver(self) -> None:
        """Called where it ends."""
        self._level -= 1


def _parser(constructor: type) -> YAML:
    parser = YAML(typ="safe")
    parser.Constructor, parser.Resolver = constructor, _Resolver
    return parser
