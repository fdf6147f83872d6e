"""The code that each stage runs, as hashes in the project's `code.yaml`.

`dvc.yaml` makes them parameters of the stages, so that a stage runs again when its code has changed, in Graft's own
checkout as in a user's project, where the code is installed elsewhere. A stage's code is its module and everything that
this imports, directly or indirectly, anywhere in a file, plus the templates next to them. A strategy's file counts only
for its own trials.

Graft updates `code.yaml` before it decides what has to run (`refresh`), and `python -m tasks.stage.code` does so before
a commit. Stock DVC cannot, so a stage refuses to run if the file is out of date (`require_current`): no result is ever
recorded under the hash of code that did not make it.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from graft import HOMES
from tasks.common.errors import GraftError
from tasks.common.files import write_text
from tasks.common.places import CODE, GRAPH, OWN_STRATEGIES
from tasks.common.project_templates import ROOT, shipped_text
from tasks.common.yaml_files import load_yaml, read_yaml, yaml_text

STAGE_VARIABLE = "DVC_STAGE"
"""Environment variable with the name of the stage, set by DVC and by Graft."""
_PACKAGES = ("graft", "tasks")
_STRATEGIES = ROOT / "graft" / "strategies"
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]*)|import[ \t]+([\w., \t]+))", re.MULTILINE
)
"""An import statement; parsing the files would take twenty times as long, in every stage. A test compares the two."""
_MARK = "# The code that this project's stages run"
"""A file of that name without these words was not written by Graft."""
_NOTE = f"""\
{_MARK}, as hashes: dvc.yaml makes them parameters, so that a stage runs again when
# its code has changed. Graft keeps this file up to date; leave that to it, and keep the file in git.
"""


def refresh(root: Path) -> None:
    """Update a project's `code.yaml`; do nothing if there is none, or if Graft did not write it."""
    path = root / CODE
    if _is_ours(path) and path.read_text(encoding="utf-8") != (text := current(root)):
        write_text(path, text)


def current(root: Path) -> str:
    """The content that `code.yaml` must have now."""
    content = {
        "graft": version("graft"),
        "stages": {stage: stage_hash(stage) for stage in _stages()},
        "strategies": {name: _hash_of([path]) for name, path in sorted(_strategies(root).items())},
    }
    return _NOTE + yaml_text(content)


def require_current(root: Path) -> None:
    """Refuse to run a stage for DVC or Graft if `code.yaml` does not record the code that would run.

    Raises:
        GraftError: the code has changed since `code.yaml` was written.
    """
    path, name = root / CODE, os.environ.get(STAGE_VARIABLE, "").rpartition(":")[2]
    if not name or not _is_ours(path):
        return
    stage, _, member = name.partition("@")
    if stage not in _stages():
        return  # a stage of the user's own
    recorded = load_yaml(path)
    as_recorded = _entry(recorded, "stages", stage) == stage_hash(stage)
    if strategy := _strategies(root).get(member.partition("-")[0]):
        as_recorded &= _entry(recorded, "strategies", strategy.stem) == _hash_of([strategy])
    if not as_recorded:
        raise GraftError(
            f"{CODE} is out of date for stage {name}: Graft, or a file in {OWN_STRATEGIES}/, has changed",
            "Update it with `graft status`, then run again.",
        )


def _is_ours(path: Path) -> bool:
    return path.exists() and _MARK in path.read_text(encoding="utf-8", errors="replace")


def _entry(recorded: dict[str, Any], section: str, name: str) -> object:
    entries = recorded.get(section)
    return entries.get(name) if isinstance(entries, dict) else None


@cache
def stage_hash(stage: str) -> str:
    """One hash over all files of Graft's code that a stage uses, except the strategy's own file."""
    return _hash_of(sorted(stage_files(stage)))


def stage_files(stage: str) -> set[Path]:
    """The files of Graft's code that a stage uses; a stage that runs strategies uses the imports of all of them."""
    definition = _stages()[stage]
    used = closure(module_file(definition["cmd"].split()[2]))
    if "strategy" in definition.get("matrix", {}):
        own = set(_STRATEGIES.glob("[a-z]*.py"))
        used = used.union(*map(closure, sorted(own)), *(closure(module_file(home)) for home in HOMES.values())) - own
    return used.union(*(folder.iterdir() for path in used if (folder := path.parent / "templates").is_dir()))


@cache
def module_file(module: str) -> Path | None:
    """The file of a module of Graft by its dotted name; None for other modules."""
    if module.partition(".")[0] not in _PACKAGES:
        return None
    place = ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def closure(path: Path | None) -> set[Path]:
    """A file of Graft and every file of Graft that it imports, directly or indirectly."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current is not None and current not in seen:
            seen.add(current)
            waiting += _imported_files(current)
    return seen


@cache
def _imported_files(path: Path) -> frozenset[Path]:
    """The files that a file imports directly; a package counts if it contains more than its docstring."""
    names = {name for module in _imported_modules(path.read_text(encoding="utf-8")) for name in _with_packages(module)}
    return frozenset(file for name in names if (file := module_file(name)) and not _is_plain_package(file))


def _imported_modules(text: str) -> Iterator[str]:
    """The modules, and names that may be modules, that a source text imports; names re-exported by `graft` are resolved
    to the module that defines them."""
    for origin, names, modules in _IMPORT.findall(text):
        if not origin:
            yield from (name.split()[0] for name in modules.split(",") if name.strip())
            continue
        imported = [name.split()[0] for name in re.sub(r"[()]|#.*", "", names).split(",") if name.strip()]
        yield from ([] if origin == "graft" else [origin])
        yield from (HOMES.get(name, f"graft.{name}") if origin == "graft" else f"{origin}.{name}" for name in imported)


def _with_packages(module: str) -> Iterator[str]:
    """A module and the packages that contain it, except `graft` itself, which only re-exports."""
    parts = module.split(".")
    yield from (".".join(parts[: depth + 1]) for depth in range(1, len(parts)))


@cache
def _is_plain_package(path: Path) -> bool:
    """Whether a file is an `__init__.py` with nothing but a docstring."""
    if path.name != "__init__.py":
        return False
    text = path.read_text(encoding="utf-8").strip()
    return not text or (text.count('"""') == 2 and text.endswith('"""'))


def _strategies(root: Path) -> dict[str, Path]:
    """The file of each strategy by name, including the project's own; if two share a name, Graft's."""
    folders = (root / OWN_STRATEGIES, _STRATEGIES)
    return {path.stem: path for folder in folders for path in folder.glob("[a-z]*.py")}


@cache
def _stages() -> dict[str, Any]:
    stages: dict[str, Any] = read_yaml(shipped_text(str(GRAPH)))["stages"]
    return stages


def _hash_of(files: Iterable[Path]) -> str:
    """A hash over the contents only, so that it is the same wherever the code is installed."""
    whole = hashlib.sha256()
    for path in files:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:32]


if __name__ == "__main__":
    refresh(Path())
