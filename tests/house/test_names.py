"""A class says by its name which one it is: no two of the three packages share a name."""

import ast
from collections import defaultdict

from tests.house.imports import ROOT

STRATEGIES = ROOT / "graft/strategies"


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for package in ("flows", "tasks", "graft"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and not (path.parent == STRATEGIES and node.name.startswith("_")):
                    places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert len(places) > 100
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
