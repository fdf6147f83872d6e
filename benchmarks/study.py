"""Trials outside a project: strategies, label budgets and seeds on one problem, in two processes at a time.

For problems whose pretrained weights do not come from a source stage. A trial does the same as the stage `finetune`
with the same settings.
"""

import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graft.data.sampling import draw_labels
from graft.data.split import Split
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies import strategy_class
from tasks.artifacts.networks import load_network, save_network
from tasks.artifacts.splits import load_split, save_split
from tasks.finetune import Trainer
from tasks.settings.finetune import FinetuneSettings


@dataclass(frozen=True)
class Problem:
    """A target domain with its label pool and test split, and a network to transfer from."""

    pretrained: Network
    pool: Split
    test: Split
    source: Split | None
    """None if only the source's weights are available."""


@dataclass(frozen=True)
class Row:
    """One trial, measured on the test split."""

    strategy: str
    labels: int
    seed: int
    correct: np.ndarray
    """(N,), whether the prediction for each test image is right; empty if the strategy does not apply."""
    seconds: float
    """CPU seconds: all folds, and the training on all labels."""
    megabytes: float
    """Increase of the process's peak memory."""
    why_not: str = ""

    @property
    def accuracy(self) -> float:
        """Accuracy on the test split."""
        return float(self.correct.mean())


def save(problem: Problem, folder: Path) -> None:
    """Write a problem to a folder, from which the processes read it."""
    parts = {"pool": problem.pool, "test": problem.test} | ({"source": problem.source} if problem.source else {})
    for name, split in parts.items():
        (folder / name).mkdir(parents=True)
        save_split(folder / name, split.images[:].numpy(), split.labels.numpy(), list(split.classes))
    (folder / "pretrained").mkdir()
    save_network(folder / "pretrained", problem.pretrained)


def run(
    folder: Path,
    strategies: dict[str, dict[str, Any]],
    budgets: list[int],
    seeds: list[int],
    training: Training,
    *,
    jobs: int = 2,
    alone: bool = False,
) -> Iterator[Row]:
    """Every trial of the saved problem, as it ends. `alone`: each in its own process, to measure its memory."""
    asked = [
        (name, knobs, labels, seed)
        for name, knobs in strategies.items()
        for labels in (budgets if strategy_class(name).uses_labels else [0])
        for seed in seeds
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1 if alone else None) as pool:
        columns = zip(*((folder, training, max(budgets), *one) for one in asked), strict=True)
        yield from pool.map(_trial, *columns)


def _trial(
    folder: Path, training: Training, most: int, name: str, knobs: dict[str, Any], labels: int, seed: int
) -> Row:
    torch.set_num_threads(1)
    problem = _load(folder)
    strategy = strategy_class(name)(**knobs)
    budget = labels or most
    target = draw_labels(problem.pool, budget, seed)
    source = problem.source if strategy.uses_source_data else None
    before, start = _peak(), time.process_time()
    try:
        trainer = Trainer(folder / "pretrained", target, source, FinetuneSettings(training=training), seed)
        network = trainer.fit(trainer.choose(strategy, training)).network
    except ValueError as error:
        return Row(name, labels, seed, np.empty(0), 0.0, 0.0, str(error))
    seconds, megabytes = time.process_time() - start, _peak() - before
    probabilities, _ = predict(network, problem.test.images)
    correct = (probabilities.argmax(dim=1) == problem.test.labels).numpy()  # a tensor would be shared, not sent
    return Row(name, labels, seed, correct, seconds, megabytes)


@lru_cache(maxsize=1)
def _load(folder: Path) -> Problem:
    source = load_split(folder / "source") if (folder / "source").exists() else None
    return Problem(
        load_network(folder / "pretrained"), load_split(folder / "pool"), load_split(folder / "test"), source
    )


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
