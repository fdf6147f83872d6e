"""Change values in a YAML text and leave its comments and everything else as they are."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

_BEHIND, _ABOVE, _BELOW = 2, 1, 3
"""Where ruamel.yaml keeps the comments of a key: behind its value and all that follows, above it, and below it."""


def with_values(
    text: str,
    edits: Iterable[tuple[Sequence[str | int], Any]],
    reasons: Iterable[tuple[Sequence[str | int], str]] = (),
) -> str:
    """`text` with other values at their paths (keys, and places in lists); a last key that is not there is put first.
    Reasons become comments behind the values at their paths.

    Raises:
        KeyError: there is nothing to put a value into.
    """
    editor = YAML()
    editor.width, editor.preserve_quotes = 10_000, True
    editor.indent(mapping=2, sequence=4, offset=2)
    content = editor.load(text)
    for path, value in edits:
        _put(content, path, value)
    for path, reason in reasons:
        parent = content
        for part in path[:-1]:
            parent = parent[part]
        parent.yaml_add_eol_comment(reason, path[-1], column=0)
    written = io.StringIO()
    editor.dump(content, written)
    return written.getvalue()


def _put(content: Any, path: Sequence[str | int], value: Any) -> None:
    parent, last = content, path[-1]
    for part in path[:-1]:
        if not _holds(parent, part):
            raise KeyError(".".join(map(str, path)))
        parent = parent[part]
    if _holds(parent, last):
        _replace(parent, last, value)
    elif isinstance(parent, CommentedMap):
        parent.insert(0, last, _node(value, block=False))
    else:
        raise KeyError(".".join(map(str, path)))


def _replace(parent: Any, key: str | int, value: Any) -> None:
    block = _in_lines(parent[key])
    following = _following(*_last_entry(parent, key)) if block else ""
    parent[key] = _node(value, block=block)
    if block and not _in_lines(parent[key]):
        _lift_comments(parent, key)
    if following:
        _append(*_last_entry(parent, key), following)
    elif token := _comments(parent, key)[_behind(parent)]:
        token.column = 0  # one blank before it, however long the value is


def _holds(parent: Any, part: str | int) -> bool:
    if isinstance(parent, CommentedSeq):
        return isinstance(part, int) and part < len(parent)
    return isinstance(parent, CommentedMap) and part in parent


def _node(value: Any, *, block: bool) -> Any:
    """A value as it is to be written: in lines of its own, or all in one."""
    if isinstance(value, str):
        return value if _is_text_anywhere(value) else DoubleQuotedScalarString(value)
    if not isinstance(value, dict | list):
        return value
    node: Any = CommentedMap() if isinstance(value, dict) else CommentedSeq()
    if isinstance(value, dict):
        node.update({key: _node(entry, block=block) for key, entry in value.items()})
    else:
        node.extend(_node(entry, block=block) for entry in value)
    if block and value:
        node.fa.set_block_style()
    else:
        node.fa.set_flow_style()
    return node


def _is_text_anywhere(value: str) -> bool:
    """Whether YAML 1.1 takes a text for one, as 1.2 does: not `on`, for one. Prefect reads its file as 1.1."""
    resolver: Any = yaml.resolver.Resolver()
    return bool(resolver.resolve(yaml.ScalarNode, value, (True, False)) == "tag:yaml.org,2002:str")


def _in_lines(value: Any) -> bool:
    """Whether a value is written in lines of its own."""
    return isinstance(value, CommentedMap | CommentedSeq) and bool(value) and not value.fa.flow_style()


def _last_entry(parent: Any, key: str | int) -> tuple[Any, Any]:
    """The entry that a value ends with: a parent and a key."""
    while _in_lines(parent[key]):
        parent = parent[key]
        key = list(parent)[-1] if isinstance(parent, CommentedMap) else len(parent) - 1
    return parent, key


def _behind(parent: Any) -> int:
    return _BEHIND if isinstance(parent, CommentedMap) else 0


def _comments(parent: Any, key: str | int) -> list[Any]:
    found: list[Any] = parent.ca.items.setdefault(key, [None, None, None, None])
    return found


def _following(parent: Any, key: str | int) -> str:
    """What stands below the last entry of a value, and is about the next key."""
    token = _comments(parent, key)[_behind(parent)]
    below = token.value.partition("\n")[2] if token else ""
    return f"\n{below}" if below else ""


def _append(parent: Any, key: str | int, following: str) -> None:
    comments, place = _comments(parent, key), _behind(parent)
    own = comments[place].value.rstrip("\n") if comments[place] else ""
    comments[place] = CommentToken(own + following, CommentMark(0), None)


def _lift_comments(parent: Any, key: str | int) -> None:
    """Those between a key and its lines go above the key, where its value now stands in one line with it."""
    comments = _comments(parent, key)
    if isinstance(parent, CommentedMap) and comments[_BELOW]:
        lifted = [CommentToken(token.value, CommentMark(parent.lc.col), None) for token in comments[_BELOW]]
        comments[_ABOVE], comments[_BELOW] = [*(comments[_ABOVE] or []), *lifted], None
