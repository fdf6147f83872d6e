"""Facts about a strategy, read from its file without importing it, since importing torch takes seconds."""

import ast
import contextlib
from pathlib import Path

from graft.strategies import strategy_file

_ATTEMPTS = 20
GRAFT = Path(__file__).resolve().parents[2] / "graft"


def needs_labels(name: str) -> bool | None:
    """Whether a strategy learns from the target's labels; None if that cannot be read (importing it will show why)."""
    kind = "".join(word.capitalize() for word in name.split("_"))
    try:
        return _needs_labels(strategy_file(name), kind)
    except (OSError, KeyError, SyntaxError, ValueError):
        return None


def _parse(text: str) -> ast.Module:
    """The file's syntax tree. CPython 3.11 counts its depth wrongly when two threads parse at once (gh-106905)."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(SystemError):
            return ast.parse(text)
    return ast.parse(text)


def _needs_labels(path: Path, kind: str) -> bool | None:
    """The value of `uses_labels` in class `kind` of a file, or else in its first base class in a file of `graft`."""
    tree = _parse(path.read_text(encoding="utf-8"))
    origins = {
        alias.asname or alias.name: GRAFT.parent / f"{node.module.replace('.', '/')}.py"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    definition = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind), None)
    for node in definition.body if definition else ():
        match node:
            case ast.AnnAssign(target=ast.Name(id="uses_labels"), value=ast.Constant(value=bool(said))):
                return said
    for base in definition.bases if definition else ():
        if isinstance(base, ast.Name) and base.id in origins:
            return _needs_labels(origins[base.id], base.id)
    return None
