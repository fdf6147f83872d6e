"""A path of a project has one home: `tasks/common/places.py`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.common import places
from tests.house.imports import ROOT

HOME = ROOT / "tasks/common/places.py"
FILES = [path for floor in ("flows", "tasks") for path in sorted((ROOT / floor).rglob("*.py")) if path != HOME]
PLACES = {str(place) for place in vars(places).values() if isinstance(place, Path)} - {"data", "weights", "strategies"}
"""The words that remain are names of other things too: a column, a section."""
FOLDERS = ("build", "reports", ".graft")


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """The text literals of a file with their lines, those in f-strings too; what stands alone is a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value


def is_place(text: str) -> bool:
    """Whether a text is a path of a project, or the beginning of one; a sentence that mentions one is not."""
    bare = text.lstrip("/:!")
    return bare in PLACES or re.fullmatch(rf"({'|'.join(map(re.escape, FOLDERS))})/\S*", bare) is not None


@pytest.mark.parametrize(
    "text", ["params.yaml", "build/trials", "build/trials/", ".graft/x.json", "/build", ":!dvc.lock"]
)
def test_a_path_is_known(text: str) -> None:
    assert is_place(text)
    assert not is_place(f"See {text}.")


def test_no_other_file_writes_a_path_out() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}" for path in FILES for line, text in literals(path) if is_place(text)
    ]
    assert not found, "name it as tasks/common/places.py does"
