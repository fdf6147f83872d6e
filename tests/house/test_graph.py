"""`code.yaml` has for each stage the code that it uses, and no more: else edits go unnoticed, or rerun too much."""

import ast
from pathlib import Path

import pytest
import yaml

import graft
from graft.strategies import strategy_names
from tasks.common.places import CODE
from tasks.stage.code import closure, current, module_file, stage_files
from tasks.stage.key import lock_entries
from tasks.trials.plan import read_plan
from tests.house.imports import ROOT
from tests.house.imports import closure as parsed_closure

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
STRATEGIES = {ROOT / "graft/strategies" / f"{name}.py" for name in strategy_names()}


def test_the_committed_hashes_are_those_of_this_code() -> None:
    assert (ROOT / CODE).read_text(encoding="utf-8") == current(ROOT), "`python -m tasks.stage.code` writes them"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_uses_what_its_module_imports_as_python_parses_it(stage: str) -> None:
    module = module_file(STAGES[stage]["cmd"].split()[2])
    used = parsed_closure(module)
    if "strategy" in STAGES[stage].get("matrix", {}):
        doors = [module_file(home) for home in set(graft.HOMES.values())]
        used = used.union(*map(parsed_closure, [*sorted(STRATEGIES), *doors])) - STRATEGIES
    found = stage_files(stage)
    assert {path for path in found if path.suffix == ".py"} == used
    templates = set((ROOT / "tasks/report/templates").iterdir()) if stage == "evaluate" else set()
    assert {path for path in found if path.suffix != ".py"} == templates


@pytest.mark.parametrize("stage", STAGES)
def test_code_is_a_parameter_of_every_stage_and_a_strategy_of_its_own_trials_alone(stage: str) -> None:
    has_strategy = "strategy" in STAGES[stage].get("matrix", {})
    wanted = [f"stages.{stage}", *(["strategies.${item.strategy}"] if has_strategy else [])]
    assert STAGES[stage]["params"][-1] == {str(CODE): wanted}
    assert not [dep for dep in STAGES[stage]["deps"] if dep.startswith(("graft/", "tasks/"))]
    assert not has_strategy or not stage_files(stage) & STRATEGIES


@pytest.mark.parametrize("name", strategy_names())
def test_a_strategy_does_not_import_another(name: str) -> None:
    """Its trials depend on its own file: an edit of the other would go unnoticed."""
    own = ROOT / "graft/strategies" / f"{name}.py"
    assert not closure(own) & (STRATEGIES - {own})


def test_the_door_for_strategies_names_where_each_thing_is_defined() -> None:
    tree = ast.parse(Path(graft.__file__).read_text(encoding="utf-8"))
    stated = {
        alias.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert stated == graft.HOMES
    for name, home in graft.HOMES.items():
        assert getattr(graft, name) is getattr(__import__(home, fromlist=[name]), name)
    with pytest.raises(AttributeError, match="it has Batch"):
        graft.Unknown  # noqa: B018


def test_the_committed_lock_holds_the_stages_of_the_graph_and_no_others() -> None:
    groups = {name.partition("@")[0] for name in lock_entries(ROOT / "dvc.lock")}
    assert groups <= STAGES.keys()
    plan = read_plan(ROOT / "params.yaml")
    trials = {name for name in lock_entries(ROOT / "dvc.lock") if name.startswith(("finetune", "adapt"))}
    assert trials == {entry.stage for entry in plan.entries()}
