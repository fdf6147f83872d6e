"""Which project files a module uses, as Python's own parser reads it: the reference for `tasks.stage.code`."""

import ast
from functools import cache
from pathlib import Path

import graft

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "graft")


@cache
def imported_modules(path: Path) -> frozenset[str]:
    """Dotted names that a file imports, anywhere in it; what `graft` hands on, where it is defined."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            door = {graft.HOMES.get(alias.name, f"graft.{alias.name}") for alias in node.names}
            found |= door if node.module == "graft" else {str(node.module), *names}
    return frozenset(found)


@cache
def file_of(module: str) -> Path | None:
    """The project file of a dotted name, or None for what is not ours."""
    if module.split(".")[0] not in PACKAGES:
        return None
    place = ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def closure(path: Path) -> set[Path]:
    """`path` and every project file that it imports, directly or through others; packages' __init__ with code too."""
    seen: set[Path] = set()
    queue = [path]
    while queue:
        current = queue.pop()
        if current in seen:
            continue
        seen.add(current)
        for module in imported_modules(current):
            parts = module.split(".")
            for depth in range(2, len(parts) + 1):
                found = file_of(".".join(parts[:depth]))
                if found is not None and not _only_docstring(found):
                    queue.append(found)
    return seen


@cache
def _only_docstring(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return path.name == "__init__.py" and all(isinstance(node, ast.Expr) for node in body)
