"""Results on disk: JSON files that name the version of their schema, read into frozen dataclasses."""

import json
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from tasks.common.errors import GraftError

SCHEMA = "schema"
"""The key that holds the version."""
AGAIN = "Make it again: graft run"
"""What to do about a file of another version."""


class Versioned(Protocol):
    """The content of a file as a dataclass."""

    VERSION: ClassVar[int]
    """Of the file's schema: one more whenever a key changes its name, its place or its meaning."""

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The dataclass for the content of the file."""
        ...


V = TypeVar("V", bound=Versioned)
T = TypeVar("T")


def read_versioned(path: Path, kind: type[V], *, shown: Path | None = None, hint: str = AGAIN) -> V:
    """The content of `path` as a `kind`.

    Args:
        path: of the file.
        kind: the dataclass of its content.
        shown: the path for messages; by default `path`.
        hint: what to do about a file that is missing or not JSON.

    Raises:
        GraftError: the file is missing or damaged, or has another version, or none, than this Graft reads.
    """
    shown = shown or path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraftError(f"{shown}: cannot be read: {error}", hint) from None
    found = content.get(SCHEMA) if isinstance(content, dict) else None
    if found != kind.VERSION:
        said = "names no version of its schema" if found is None else f"has version {found!r} of its schema"
        raise GraftError(f"{shown}: {said}, this version of Graft reads version {kind.VERSION}", AGAIN)
    try:
        return kind.from_json(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GraftError(f"{shown}: a damaged result: {_explain(error)}", AGAIN) from None


def typed(content: object, kind: type[T]) -> T:
    """JSON's values as a `kind`, a frozen dataclass; keys that it does not know are left out.

    Raises:
        ValidationError: a key is missing or a value has another type.
    """
    return TypeAdapter(kind).validate_python(content)


def _explain(error: Exception) -> str:
    """The first problem, with its place in the file."""
    if not isinstance(error, ValidationError):
        return repr(error)
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
