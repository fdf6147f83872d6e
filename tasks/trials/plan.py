"""The trials that `params.yaml` defines: strategies, label budgets and seeds. No torch here."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.data.label_budget import ALL, Labels, by_size
from graft.settings import Seed
from tasks.common.errors import GraftError
from tasks.common.yaml_files import load_yaml
from tasks.settings.label_budgets import LabelBudget
from tasks.settings.yaml_sections import parse

BASELINE = "scratch"
"""The strategy that every gain is measured against."""

ORACLE = "oracle"
"""The companion of a strategy that must not see labels: its weights are selected by the paid labels."""

PLAN_SECTIONS: dict[str, Any] = {
    "seeds": list[Seed],
    "label_budgets": list[LabelBudget],
    "strategies": dict[str, dict[str, Any] | None],
    "label_free": dict[str, dict[str, Any] | None],
    "every_source": list[str],
}
"""The sections of params.yaml that define the trials."""


FROM = "@"
"""Separates a strategy from the further source model that it starts from, in the name under which it is compared."""


@dataclass(frozen=True)
class Entry:
    """One strategy with one label budget and one seed: a stage of the graph."""

    strategy: str
    """The name under which it is compared: `fine_tune`, or `fine_tune@NAME` if it starts from a further source."""
    labels: Labels
    """Labels per class to train on, or `all`; 0 for a strategy that needs none."""
    seed: int

    @property
    def name(self) -> str:
        """`<strategy>-<labels>-<seed>`, the trial's folder."""
        return f"{self.strategy}-{self.labels}-{self.seed}"

    @property
    def method(self) -> str:
        """The strategy's own name, without the source: that of its knobs and its file."""
        return self.strategy.partition(FROM)[0]

    @property
    def source(self) -> str:
        """The further source whose model it starts from; empty for the one that `use` names."""
        return self.strategy.partition(FROM)[2]

    @property
    def stage(self) -> str:
        """The stage's name in dvc.yaml."""
        if self.source:
            return f"finetune_from@{self.method}-{self.source}-{self.labels}-{self.seed}"
        return f"finetune@{self.name}" if self.labels else f"adapt@{self.strategy}-{self.seed}"

    @property
    def command(self) -> str:
        """The command that runs it by hand."""
        command = f"python -m tasks.finetune --strategy {self.method} --labels {self.labels} --seed {self.seed}"
        return f"{command} --source {self.source}" if self.source else command


@dataclass(frozen=True)
class Plan:
    """All trials of `params.yaml`: every strategy with every label budget and every seed."""

    strategies: tuple[str, ...]
    """Strategies that learn from labels, including those of `every_source`, once more per further source."""
    label_free: tuple[str, ...]
    """Strategies that need no labels; they are compared with the others at every budget."""
    budgets: tuple[Labels, ...]
    """Labels per class, ascending; `all` is the largest."""
    seeds: tuple[int, ...]
    listed: tuple[str, ...] = ()
    """The strategies in the order of params.yaml, the baseline last: it decides where no label can."""

    @property
    def budget(self) -> Labels:
        """The largest label budget, which stands for the user's own; the candidate is chosen there."""
        return self.budgets[-1]

    @property
    def most_labels(self) -> int:
        """The largest budget that is a number; 0 if `all` is the only one."""
        return max((labels for labels in self.budgets if labels != ALL), default=0)

    def entries(self) -> list[Entry]:
        """Every trial: strategy by strategy, budget by budget, seed by seed."""
        return [
            Entry(name, labels, seed)
            for name in sorted((*self.strategies, *self.label_free))
            for labels in (self.budgets if name in self.strategies else (0,))
            for seed in self.seeds
        ]

    def compared(self, budget: Labels) -> list[tuple[str, Labels]]:
        """The strategies compared at a budget, sorted, with the labels that each uses."""
        names = sorted((*self.strategies, *self.label_free))
        return [(name, budget if name in self.strategies else 0) for name in names]


def read_plan(params: Path) -> Plan:
    """Strategies (sorted), label budgets (ascending) and seeds (as given) of `params.yaml`.

    Raises:
        GraftError: a section is missing or malformed, a value is repeated, or the baseline is missing.
    """
    content = load_yaml(params)
    read: dict[str, Any] = {}
    problems = []
    for section, kind in PLAN_SECTIONS.items():
        given = content.get(section, [] if section == "every_source" else None)
        try:
            read[section] = parse(given, kind, where=f"{params.name}: {section}")
        except GraftError as error:
            problems += error.problems
    sources = content.get("sources") or {}
    problems += [f"{params.name}: {fault}" for fault in (*_faults(read), *_faults_from(read, sources))]
    if problems:
        raise GraftError(problems)
    again = [f"{name}{FROM}{source}" for name in read["every_source"] for source in sources]
    strategies, label_free = tuple(sorted([*read["strategies"], *again])), tuple(sorted(read["label_free"]))
    listed = sorted((*read["strategies"], *again, *read["label_free"]), key=lambda name: name == BASELINE)
    budgets = tuple(sorted(read["label_budgets"], key=by_size))
    return Plan(strategies, label_free, budgets, tuple(read["seeds"]), tuple(listed))


def _faults(read: Mapping[str, Any]) -> Iterator[str]:
    """Problems of the sections that could be read."""
    strategies = read.get("strategies", {BASELINE: {}})
    if BASELINE not in strategies:
        yield (
            f"strategies: {BASELINE!r} is missing, the baseline of gains and verdicts "
            f"(found: {', '.join(sorted(strategies)) or 'none'}); add `{BASELINE}: {{}}`"
        )
    if read.get("seeds") == []:
        yield "seeds: at least one seed is needed; use three or more for meaningful intervals"
    if read.get("label_budgets") == []:
        yield "label_budgets: at least one number of labels per class is needed, such as [10] or [all]"
    for section in ("seeds", "label_budgets", "every_source"):
        values = read.get(section, [])
        yield from (f"{section}: {value} is given twice" for value in dict.fromkeys(values) if values.count(value) > 1)
    for name in sorted(strategies.keys() & read.get("label_free", {}).keys()):
        yield f"{name!r} is in both strategies and label_free; remove it from one of them"


def _faults_from(read: Mapping[str, Any], sources: Any) -> Iterator[str]:
    """Problems of `every_source`."""
    wanted = read.get("every_source", [])
    if wanted and not (isinstance(sources, dict) and sources):
        yield "every_source: there is no further source model to start from; define some in `sources`"
    for name in dict.fromkeys(wanted):
        if name == BASELINE:
            yield f"every_source: {BASELINE!r} does not start from a source model; remove it"
        elif name not in read.get("strategies", [name]):
            yield f"every_source: {name!r} is not one of `strategies`; add it there first, with its knobs"


def sweep(folder: Path, plan: Plan) -> list[str]:
    """Remove trials that are no longer in the plan; returns their names. DVC's cache still has them."""
    names = {entry.name for entry in plan.entries()}
    if not folder.is_dir():
        return []
    left_over = sorted(path for path in folder.glob("[!.]*") if path.is_dir() and path.name not in names)
    for path in left_over:
        shutil.rmtree(path)
    return [path.name for path in left_over]


def wrong_section(*, needs_labels: bool) -> str:
    """The problem of a strategy that is in the wrong section of params.yaml."""
    if needs_labels:
        return "learns from labels; move it to `strategies`"
    return "needs no labels; move it to `label_free`, where it runs once per seed instead of once per label budget"
