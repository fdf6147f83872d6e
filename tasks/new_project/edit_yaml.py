"""Change a value in a YAML text and leave its comments and everything else as they are."""

from collections.abc import Sequence
from typing import Any

import yaml


def with_value(text: str, path: Sequence[str | int], value: Any) -> str:
    """`text` with another value at `path` (keys, and places in lists); a last key that is not there is put first.

    Raises:
        KeyError: there is nothing to put it into.
    """
    parent = yaml.compose(text, Loader=yaml.SafeLoader)
    for part in path[:-1]:
        parent = _child(parent, part)
    node = _child(parent, path[-1])
    if node is not None:
        return text[: node.start_mark.index] + _written(value, node) + text[_end(node) :]
    if not isinstance(parent, yaml.MappingNode) or parent.flow_style or not parent.value:
        raise KeyError(".".join(map(str, path)))
    first = parent.value[0][0].start_mark
    line = f"{path[-1]}: {_inline(value)}\n{' ' * first.column}"
    return text[: first.index] + line + text[first.index :]


def _child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((child for key, child in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        child: yaml.Node = node.value[part]
        return child
    return None


def _end(node: yaml.Node) -> int:
    """Where a value's text ends: PyYAML counts the blanks and comments behind a block to it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _written(value: Any, node: yaml.Node) -> str:
    """In the style of the value that it replaces: a mapping in lines, an entry each, or all in one."""
    if isinstance(value, dict) and isinstance(node, yaml.MappingNode) and not node.flow_style and value:
        return f"\n{' ' * node.start_mark.column}".join(f"{key}: {_inline(entry)}" for key, entry in value.items())
    return _inline(value)


def _inline(value: Any) -> str:
    """In one line, quoted so that it may also stand in a list."""
    return yaml.safe_dump([value], default_flow_style=True, width=10_000, sort_keys=False).strip()[1:-1]
