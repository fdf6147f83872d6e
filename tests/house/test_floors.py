"""Arrows point down: flows -> tasks -> graft, and each floor knows only the libraries that are its own."""

import ast

import pytest

from tests.house.imports import PACKAGES, ROOT, imported_modules

FLOOR = {"flows": 3, "tasks": 2, "graft": 1}
FORBIDDEN = {
    "flows": {"torch", "torchvision", "mlflow", "dvc"},
    "graft": {"prefect", "mlflow", "dvc", "yaml", "os", "pathlib", "rich", "typer", "subprocess"},
}
_IMPORTS = (ast.Import, ast.ImportFrom)
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_down(path) -> None:
    package = path.relative_to(ROOT).parts[0]
    roots = {name.split(".")[0] for name in imported_modules(path)}
    upward = {root for root in roots if FLOOR.get(root, 0) > FLOOR[package]}
    assert not upward, f"{package} must not import {upward}"
    forbidden = roots & FORBIDDEN.get(package, set())
    if path.name == "__init__.py" and path.parent.name == "strategies":
        forbidden -= {"pathlib"}  # it finds the strategies by their file names
    assert not forbidden, f"{package} must not know {forbidden}"


def test_dvc_is_touched_in_files_that_say_so() -> None:
    users = {path.name for path in FILES if "dvc" in {name.split(".")[0] for name in imported_modules(path)}}
    assert all(name.startswith("dvc_") for name in users), users


@pytest.mark.parametrize("stage", ["prepare", "pretrain", "forecast", "finetune", "evaluate"])
def test_stages_start_without_prefect_and_mlflow(stage: str) -> None:
    from tests.house.imports import closure

    for path in closure(ROOT / "tasks" / f"{stage}.py"):
        roots = {name.split(".")[0] for name in imported_modules(path)}
        assert not roots & {"prefect", "mlflow", "dvc"}, path


@pytest.mark.parametrize("stage", ["weights", "source"])
def test_stages_that_take_weights_import_mlflow_only_inside_of_what_asks_the_registry(stage: str) -> None:
    from tests.house.imports import closure

    for path in closure(ROOT / "tasks" / f"{stage}.py"):
        roots = {name.split(".")[0] for name in imported_modules(path)}
        assert not roots & {"prefect", "dvc"}, path
        outside = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, _IMPORTS)]
        names = {alias.name for node in outside if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in outside if isinstance(node, ast.ImportFrom)}
        assert not any(name.split(".")[0] in ("mlflow", "timm") for name in names), path


def test_graft_prints_nothing() -> None:
    for path in (ROOT / "graft").rglob("*.py"):
        names = {node.func.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
        assert not names & {"print", "open", "input", "exec", "eval"}, path


def test_a_registered_model_takes_along_all_the_code_that_it_imports() -> None:
    from tasks.records.model_package import CODE
    from tests.house.imports import closure

    used = closure(ROOT / "tasks/records/served_model.py") - {ROOT / "tasks/records/served_model.py"}
    assert {path for path in used if path.is_relative_to(ROOT / "tasks")} <= {ROOT / "tasks" / name for name in CODE}
