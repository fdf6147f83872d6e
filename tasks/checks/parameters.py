"""Check all of `params.yaml` before anything runs, so that a typo does not cost a pretraining.

`python -m tasks.checks.parameters` also checks the knobs of the strategies, which requires importing torch.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graft.data.label_budget import Labels, budget_fault, by_size
from graft.strategies import look_in, misnamed_files, strategy_class, strategy_names
from tasks.common.errors import GraftError
from tasks.common.places import CARD, OWN_STRATEGIES, PARAMS
from tasks.common.yaml_files import load_yaml
from tasks.settings.evaluate import EvaluateSettings
from tasks.settings.finetune import FinetuneSettings
from tasks.settings.forecast import ForecastSettings
from tasks.settings.prepare import PrepareSettings
from tasks.settings.pretrain import PretrainSettings
from tasks.settings.sources import read_source, read_use, source_names
from tasks.settings.strategy_files import needs_labels
from tasks.settings.tune import TuneSettings
from tasks.settings.yaml_sections import parse, suggest
from tasks.stage.process import run_stage
from tasks.trials.plan import PLAN_SECTIONS, read_plan, wrong_section

SECTIONS: dict[str, Any] = {
    "prepare": PrepareSettings,
    "pretrain": PretrainSettings,
    "finetune": FinetuneSettings,
    "forecast": ForecastSettings,
    "tune": TuneSettings,
    "evaluate": EvaluateSettings,
}


def check_parameters(root: Path, *, knobs: bool = False) -> None:
    """Check every section of the project's `params.yaml`, and with `knobs` also the knobs of each strategy.

    Raises:
        GraftError: lists all problems: file, key, value and the valid choices.
    """
    look_in(root / OWN_STRATEGIES)
    content = load_yaml(root / PARAMS)
    known = {*SECTIONS, *PLAN_SECTIONS, "sources", "use"}
    problems = [f"{PARAMS}: unknown section {name!r}; {suggest(str(name), known)}" for name in content.keys() - known]
    for section, kind in SECTIONS.items():
        try:
            parse(content.get(section, {}), kind, where=f"{PARAMS}: {section}")
        except GraftError as error:
            problems += error.problems
    problems += [*_faults_of(read_plan, root / PARAMS), *_source_faults(root / PARAMS)]
    for section in ("strategies", "label_free"):
        strategies = content.get(section)
        if isinstance(strategies, dict):
            problems += _strategy_faults(section, strategies, knobs)
    if problems:
        raise GraftError(sorted(problems))


def _source_faults(params: Path) -> list[str]:
    """Problems of `use` and of every entry of `sources`."""
    if faults := _faults_of(source_names, params):
        return faults
    found = [_faults_of(read_source, params, name) for name in source_names(params)]
    return [*_faults_of(read_use, params), *(fault for faults in found for fault in faults)]


def _faults_of(read: Callable[..., object], *arguments: object) -> list[str]:
    try:
        read(*arguments)
    except GraftError as error:
        return error.problems
    return []


def _strategy_faults(section: str, strategies: dict[str, dict[str, Any] | None], knobs: bool) -> list[str]:
    valid = strategy_names()
    problems = [
        "; ".join([f"{PARAMS}: {section}.{name}: unknown strategy; {suggest(name, valid)}", *misnamed_files()])
        for name in strategies
        if name not in valid
    ]
    for name in sorted(strategies.keys() & set(valid)):
        where, needs = f"{PARAMS}: {section}.{name}", needs_labels(name)
        if knobs:
            try:
                kind = strategy_class(name)
                needs = kind.uses_labels
                parse(strategies[name] or {}, kind, where=where)
            except GraftError as error:
                problems += error.problems
            except ValueError as error:
                problems.append(f"{where}: {error}")
        if needs is not None and needs != (section == "strategies"):
            problems.append(f"{where}: {wrong_section(needs_labels=needs)}")
    return problems


def check_label_budget(root: Path) -> None:
    """Check the largest label budgets against the images that the stage `prepare` packed, if it has run.

    Raises:
        GraftError: a class has too few images.
    """
    if not (root / CARD).exists():
        return
    plan = read_plan(root / PARAMS)
    counts = json.loads((root / CARD).read_text(encoding="utf-8"))["domains"]["pool"]["classes"]
    asked: set[Labels] = {plan.budget, plan.most_labels} - {0}
    faults = [budget_fault(counts, labels) for labels in sorted(asked, key=by_size)]
    if problems := [f"{PARAMS}: label_budgets: {fault}" for fault in faults if fault]:
        raise GraftError(problems)


if __name__ == "__main__":
    run_stage(lambda: check_parameters(Path(), knobs=True))
