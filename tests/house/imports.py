"""Which project files a module uses, read from its source."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "graft")


def imported_modules(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it, relative imports resolved."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = f"{package}.{node.module}" if node.level and node.module else (node.module or package)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


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
            for depth in range(1, len(parts) + 1):
                found = file_of(".".join(parts[:depth]))
                if found is not None and not _only_docstring(found):
                    queue.append(found)
    return seen


def _only_docstring(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)
