"""What MLflow shows of a result: the parameters, metrics and tags per run. Values only; nothing is sent here."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.executor import run_journal
from tasks.results.metrics_file import SCORES, StrategyRow, Summary
from tasks.results.words import labels_in_words
from tasks.tracking.run_result import RecordedTrial, RunResult, Trained
from tasks.trials.plan import FROM

KEY = "graft.stage_key"
"""Tag by which a run is found again: the key of the stage whose result it shows."""
COMPLETE = "graft.complete"
"""Tag that is set last: a run without it is unfinished."""
RUNS = "graft.runs"
"""Tag of a flow's run: ids of the runs of its result, its own children or older ones."""

CURRENT = "graft.current"
"""Tag of a trial's run: yes if it is part of the latest result, no once it is not."""

LEAD = "graft.metric"
"""Tag with the lead metric of the comparison, in which gains and verdicts are given."""

GROUP = "strategy_at_budget"
"""Tag by which trials are averaged: one group per strategy and label budget."""

Point = tuple[str, float, int]
"""A metric's name, value and step."""


@dataclass(frozen=True)
class RunContent:
    """One run, ready to be written."""

    key: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    points: tuple[Point, ...]
    dataset: dict[str, str]


def flow_content(result: RunResult) -> RunContent:
    """The parent run: the whole result, with the metrics per strategy and of the candidate."""
    summary, candidate = result.summary, result.candidate
    budget = summary.budget
    params = {
        "labels_per_class": budget.labels_per_class,
        "n_paid": budget.n_paid,
        "folds": budget.folds,
        "seeds": list(budget.seeds),
        "strategies": list(summary.strategies),
        "n_test": summary.test.n,
        "candidate": candidate.name,
        **_architecture(candidate),
    }
    metrics = {f"candidate/{name}": value for name, value in candidate.test.items()}
    for strategy, row in summary.strategies.items():
        metrics |= _means(strategy, row)
    return RunContent(
        key=result.key,
        name=f"transfer, {labels_in_words(budget.labels_per_class)}",
        params=_texts(params),
        tags=_tags(result, result.key, "flow", verdict=summary.chosen.verdict) | {LEAD: result.metric},
        points=(*_points(metrics), *_label_efficiency(summary)),
        dataset=_dataset(result, "evaluation"),
    )


def source_content(result: RunResult, trained: Trained) -> RunContent:
    """A source model: the pretraining on a source domain, or the adaptation of given weights to it."""
    params = {name: trained.metrics.get(name) for name in ("n_train", "n_validation", "steps", "parameters")}
    finals = {f"validation/{name}": trained.metrics.get(name) for name in ("accuracy", "loss")}
    return RunContent(
        key=trained.key,
        name=trained.name,
        params=_texts(params | _architecture(trained)),
        tags=_tags(result, trained.key, "pretrain"),
        points=_points(finals, trained.curve),
        dataset=_dataset(result, "pretraining"),
    )


def trial_content(result: RunResult, trial: RecordedTrial) -> RunContent:
    """A trial: its settings, its learning curve, and its metrics on validation and test data."""
    nested = ("training", "knobs", "validation", "search", "companions")
    params = dict(_flat(trial.metrics["training"]))  # with the learning rate that a search found
    params |= {name: value for name, value in trial.metrics.items() if name not in nested}
    params |= {f"knob.{name}": value for name, value in trial.metrics["knobs"].items()}
    held_out = trial.metrics["validation"]
    finals = {f"validation/{name}": value for name, value in held_out.items() if value is not None}
    tags = {
        CURRENT: "yes",
        "strategy": trial.strategy,
        "seed": str(trial.metrics["seed"]),
        GROUP: f"{trial.strategy}, {labels_in_words(trial.metrics['labels_per_class'])}",
    }
    return RunContent(
        key=trial.key,
        name=trial.name,
        params=_texts(params | _architecture(trial)),
        tags=_tags(result, trial.key, "trial", **tags),
        points=(*_points(finals | metrics_on_test(trial), trial.curve), *_search(trial.metrics["search"])),
        dataset=_dataset(result, "training"),
    )


def _search(attempts: Iterable[Mapping[str, Any]]) -> Iterator[Point]:
    """The attempts of a search, one per step; choices are not numbers and are only in the trial's files."""
    for number, attempt in enumerate(attempts):
        for name, value in attempt.items():
            if isinstance(value, int | float) and math.isfinite(value):
                yield f"search/{name}", float(value), number


def metrics_on_test(trial: RecordedTrial) -> dict[str, float]:
    """The metrics of a trial from the evaluation, which may be made again without training."""
    return {f"test/{name}": value for name, value in trial.test.items() if math.isfinite(value)}


def _texts(params: Mapping[str, Any]) -> dict[str, str]:
    known = {name: value for name, value in params.items() if value is not None}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in known.items()}


def _tags(result: RunResult, key: str, kind: str, **more: str) -> dict[str, str]:
    source = {"mlflow.source.name": "graft", "mlflow.source.type": "LOCAL"}
    return {KEY: key, "kind": kind, "dvc.data_md5": result.data_md5, **source, **_how(result.root, key), **more}


def _how(root: Path, key: str) -> dict[str, str]:
    """The device and threads of a stage, and repeated attempts or divided batches; empty if it was not run here."""
    ran = run_journal.read(root, key)
    if ran is None:
        return {}
    unusual = {"attempts": ran.attempts, "batch_parts": ran.batch_parts}
    more = {f"graft.{name}": str(value) for name, value in unusual.items() if value > 1}
    return {"graft.device": ran.device, "graft.threads": str(ran.threads), **more}


def _points(finals: Mapping[str, float | None], curve: Iterable[Mapping[str, float]] = ()) -> tuple[Point, ...]:
    """Final values at step 0 and a curve at its steps; finite values only, since MLflow draws infinity as 1.8e308."""
    points = [(name, value, 0) for name, value in finals.items()]
    points += [(name, value, int(row["step"])) for row in curve for name, value in row.items() if name != "step"]
    return tuple(
        (name, float(value), step) for name, value, step in points if value is not None and math.isfinite(value)
    )


def _means(strategy: str, row: StrategyRow) -> dict[str, float]:
    """The numbers of one strategy, named so that the page draws the strategies next to each other."""
    shown = _shown(strategy)
    found = {f"{name}/{shown}": row.score(name).mean for name in SCORES}
    return found | {f"gain_over_scratch/{shown}": row.gain_over_scratch.mean}


def _shown(strategy: str) -> str:
    """A strategy's name as part of a metric's name, in which MLflow allows few special characters."""
    return strategy.replace(FROM, " from ")


def _label_efficiency(summary: Summary) -> tuple[Point, ...]:
    """Scores and gain by label budget: MLflow draws a metric against its step, so the step is labels per class."""
    points = []
    for labels, rows in summary.budgets().items():
        step = round(summary.as_number(labels))
        for name, row in rows.items():
            values: dict[str, float] = {metric: row.score(metric).mean for metric in ("accuracy", summary.lead)}
            values["gain"] = row.gain_over_scratch.mean
            points += [(f"{metric}_by_labels/{_shown(name)}", value, step) for metric, value in values.items()]
    return tuple(points)


def _architecture(trained: Trained) -> dict[str, Any]:
    read = ("vocabulary", "length") if trained.description.get("vocabulary") else ("image_size", "channels")
    return {name: trained.description[name] for name in ("backbone", *read)}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _dataset(result: RunResult, context: str) -> dict[str, str]:
    """The raw data by DVC's hash; the page shows only the profile of such a dataset."""
    domains = {name: {"n": part.n, "path": part.path} for name, part in result.card.domains.items()}
    profile = json.dumps({"path": "data", "md5": result.data_md5, **domains})
    return {"digest": result.data_md5[:36], "context": context, "profile": profile}
