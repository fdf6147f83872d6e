"""What import-linter's contracts in pyproject.toml cannot say of the floors and rooms."""

import ast
from pathlib import Path

import grimp
import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.house.imports import PACKAGES, ROOT, closure

MOST_FILES = 15
"""In one folder, `__init__.py` and strategies not counted."""
ROOMS = sorted({path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")})


def test_the_contracts_of_the_floors_and_rooms_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS, "lint-imports says which arrow is wrong"


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_says_what_it_holds_and_is_not_crowded(room: Path) -> None:
    assert ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
    assert len([path for path in room.iterdir() if path.is_file()]) <= MOST_FILES + 1 or room.name == "strategies"


def test_dvc_is_touched_in_files_that_say_so() -> None:
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    users = graph.find_modules_that_directly_import("dvc") | graph.find_modules_that_directly_import("dvc_data")
    assert users
    assert all(name.rpartition(".")[2].startswith("dvc_") for name in users), users


@pytest.mark.parametrize("stage", ["weights", "source"])
def test_stages_that_take_weights_import_mlflow_only_inside_of_what_asks_the_registry(stage: str) -> None:
    for path in closure(ROOT / "tasks" / f"{stage}.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        names = {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in body if isinstance(node, ast.ImportFrom)}
        assert not any(name.split(".")[0] in ("mlflow", "timm") for name in names), path


def test_graft_prints_nothing() -> None:
    for path in (ROOT / "graft").rglob("*.py"):
        names = {node.func.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
        assert not names & {"print", "open", "input", "exec", "eval"}, path
