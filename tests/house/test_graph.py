"""`dvc.yaml` lists for each stage the code that it uses, and no more: else edits go unnoticed, or rerun too much."""

from pathlib import Path

import pytest
import yaml

from graft.strategies import strategy_names
from tests.house.imports import ROOT, closure

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
STRATEGY = "graft/strategies/${item.strategy}.py"


def relative(paths: set[Path]) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in paths}


def declared_code(stage: str) -> list[str]:
    return [dep for dep in STAGES[stage]["deps"] if dep.startswith(("graft/", "tasks/"))]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_exactly_the_code_that_it_imports(stage: str) -> None:
    module = STAGES[stage]["cmd"].split()[2].removeprefix("tasks.")
    used = relative(closure(ROOT / "tasks" / f"{module}.py"))
    declared = set(declared_code(stage))
    if module == "finetune":
        own = {f"graft/strategies/{name}.py" for name in strategy_names()}
        for name in strategy_names():
            used |= relative(closure(ROOT / f"graft/strategies/{name}.py"))
        used = (used - own) | {STRATEGY}
    templates = {dep for dep in declared if not dep.endswith(".py")}
    assert declared - templates == used
    if stage == "evaluate":
        assert templates == relative({*(ROOT / "tasks/report").glob("*.j2"), *(ROOT / "tasks/report").glob("*.css")})
    else:
        assert not templates


def test_files_are_listed_once_and_in_order() -> None:
    for stage in STAGES.values():
        assert stage["deps"] == sorted(set(stage["deps"]))


def test_a_new_strategy_concerns_its_own_trials_alone() -> None:
    others = [f"graft/strategies/{name}.py" for name in strategy_names()]
    assert not (set(declared_code("finetune")) | set(declared_code("adapt"))) & set(others)
    assert STAGES["finetune"]["params"] == ["finetune", "tune", "strategies.${item.strategy}"]
    assert STAGES["adapt"]["params"] == ["finetune", "tune", "label_budgets", "label_free.${item.strategy}"]


@pytest.mark.parametrize("name", strategy_names())
def test_a_strategy_does_not_import_another(name: str) -> None:
    """Its trials depend on its own file: an edit of the other would go unnoticed."""
    used = relative(closure(ROOT / f"graft/strategies/{name}.py"))
    assert not used & {f"graft/strategies/{other}.py" for other in strategy_names() if other != name}
