"""Graft's strategies as a trial runs them, and the model that Graft registers: chosen by the folds alone."""

import io
import tempfile
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.peers.cell import Answer, Cell, Peer
from benchmarks.peers.records import Record
from graft.contract import Strategy
from graft.measures.cost import multiply_adds, parameters
from graft.networks.network import predict
from graft.settings import Metric
from graft.strategies import strategy_class
from graft.techniques.carry import require_source
from tasks.artifacts.networks import save_network
from tasks.common.places import PARAMS
from tasks.finetune import Trainer
from tasks.new_project.answers import STRATEGIES, Answers
from tasks.new_project.templates import project_files
from tasks.settings.finetune import FinetuneSettings
from tasks.settings.yaml_sections import parse
from tasks.trials.choose import Contender, choose_strategy

FAMILY = "graft"


def written(answers: Answers) -> dict[str, Any]:
    """The params.yaml that `graft init` writes for these answers."""
    content: dict[str, Any] = yaml.safe_load(project_files(answers)[str(PARAMS)])
    return content


def section(answers: Answers, name: str, kind: Any) -> Any:
    """A section of that file."""
    return parse(written(answers)[name], kind, where=name)


@cache
def knobs(answers: Answers) -> dict[str, dict[str, Any]]:
    """The strategies that `graft init` writes, with their knobs."""
    content = written(answers)
    return {**(content["strategies"] or {}), **(content["label_free"] or {})}


def peers(strategies: Iterable[str] = STRATEGIES) -> list[Peer]:
    """One per strategy; by default those of a new project."""
    return [Peer(name, FAMILY, ("photos", "digits", "texts"), _trial(name)) for name in strategies]


def _trial(name: str) -> Callable[[Cell], Answer]:
    def solve(cell: Cell) -> Answer:
        kind = strategy_class(name)
        strategy: Strategy = parse(knobs(cell.case.project).get(name) or {}, kind, where=name)
        source = cell.case.problem.source if strategy.uses_source_data else None
        require_source(strategy, len(source or ()))
        settings: FinetuneSettings = section(cell.case.project, "finetune", FinetuneSettings)
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
            save_network(Path(folder), cell.case.problem.pretrained)
            trainer = Trainer(Path(folder), cell.target, source, settings, cell.seed)
            chosen = trainer.choose(strategy, settings.training)
            network = trainer.fit(chosen).network
        said = predict(network, cell.case.problem.test.images)[0].argmax(dim=1).numpy()
        images = chosen.kept.step * settings.training.batch_size
        cost = float(multiply_adds(network)), float(images), float(parameters(network))
        return Answer(said, out_of_fold=chosen.answers, cost=cost)

    return solve


@dataclass(frozen=True)
class Registered:
    """What Graft would register in a cell, all seeds together, as a run does."""

    strategy: str
    best: str
    """The best on the test split, in hindsight."""
    seconds: float
    """CPU seconds of a project: all strategies, one seed."""


def registered(records: list[Record], metric: Metric, scores: dict[str, list[float]]) -> Registered | None:
    """The strategy that the folds choose among Graft's records of one cell; None if there are none.

    Args:
        records: of one case and one label budget, any family, all seeds.
        metric: the one that leads.
        scores: by peer, one per seed, of the test split: only to say which would have been the best.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.family == FAMILY and record.said and record.held:
            groups.setdefault(record.peer, []).append(record)
    if not groups:
        return None
    chosen = choose_strategy([_contender(name, group) for name, group in groups.items()], metric)
    best = max(groups, key=lambda name: (float(np.mean(scores[name])), name == chosen))
    return Registered(chosen, best, sum(float(np.mean([r.seconds for r in group])) for group in groups.values()))


def each_alone(records: list[Record], metric: Metric) -> dict[int, str]:
    """The same by seed, where the labels of one seed alone choose: what that many labels can pay for."""
    seeds = sorted({record.seed for record in records if record.family == FAMILY})
    found: dict[int, str] = {}
    for seed in seeds:
        mine = [r for r in records if r.seed == seed and r.family == FAMILY and r.said and r.held]
        if mine:
            found[seed] = choose_strategy([_contender(record.peer, [record]) for record in mine], metric)
    return found


def _contender(name: str, group: list[Record]) -> Contender:
    classes = max(group[0].truth) + 1
    answers = {record.seed: record.held.answers(classes) for record in group if record.held}
    return Contender(name, answers, min(group, key=lambda record: record.seed).cost)
