"""What MLflow shows of a result: for each run its parameters, metrics and tags. Values only; nothing is sent here."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.executor import run_journal
from tasks.results.read import SCORES, budgets, labels_a_class, lead
from tasks.results.words import labels_in_words
from tasks.tracking.outcome import Outcome, Trained, Trial
from tasks.trials.plan import FROM

KEY = "graft.stage_key"
"""Tag by which a run is found again: the key of the stage that made what it shows."""
COMPLETE = "graft.complete"
"""Tag that is set last: a run without it was left unfinished."""
RUNS = "graft.runs"
"""Tag of a flow's run: ids of the runs that its result is made of, its own children or older ones."""

CURRENT = "graft.current"
"""Tag of a trial's run: yes if the latest result is made of it, no once params.yaml asks for others."""

LEAD = "graft.metric"
"""Tag that names the metric that leads the comparison: gains and verdicts are in it."""

GROUP = "strategy_at_budget"
"""Tag by which trials are averaged: trials of a strategy with other label budgets are not one group."""

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


def flow_content(outcome: Outcome) -> RunContent:
    """The parent: the whole result, with the numbers of each strategy and of the candidate."""
    report, candidate = outcome.report, outcome.candidate
    budget, verdict = report["budget"], report["strategies"][candidate.strategy]["verdict"]
    params = {
        "labels_per_class": budget["labels_per_class"],
        "validation_per_class": budget["validation_per_class"],
        "n_train": budget["n_train"],
        "n_validation": budget["n_validation"],
        "seeds": budget["seeds"],
        "strategies": list(report["strategies"]),
        "n_test": report["test"]["n"],
        "candidate": candidate.name,
        **_architecture(candidate),
    }
    metrics: dict[str, float | None] = {f"candidate/{name}": value for name, value in candidate.test.items()}
    for strategy, scores in report["strategies"].items():
        metrics |= _summary(strategy, scores)
    return RunContent(
        key=outcome.key,
        name=f"transfer, {labels_in_words(budget['labels_per_class'])}",
        params=_texts(params),
        tags=_tags(outcome, outcome.key, "flow", verdict=verdict) | {LEAD: outcome.metric},
        points=(*_points(metrics), *_label_efficiency(report)),
        dataset=_dataset(outcome, "evaluation"),
    )


def source_content(outcome: Outcome, trained: Trained) -> RunContent:
    """A source model: the pretraining on a source domain, or what given weights learned from it."""
    params = {name: trained.metrics.get(name) for name in ("n_train", "n_validation", "steps", "parameters")}
    finals = {f"validation/{name}": trained.metrics.get(name) for name in ("accuracy", "loss")}
    return RunContent(
        key=trained.key,
        name=trained.name,
        params=_texts(params | _architecture(trained)),
        tags=_tags(outcome, trained.key, "pretrain"),
        points=_points(finals, trained.curve),
        dataset=_dataset(outcome, "pretraining"),
    )


def trial_content(outcome: Outcome, trial: Trial) -> RunContent:
    """A trial: what it was given, how it learned, and its own metrics on validation and test data."""
    nested = ("training", "knobs", "validation", "search", "companions")
    params = dict(_flat(trial.metrics["training"]))  # the learning rate that a search found stands in its place
    params |= {name: value for name, value in trial.metrics.items() if name not in nested}
    params |= {f"knob.{name}": value for name, value in trial.metrics["knobs"].items()}
    finals = {f"validation/{name}": value for name, value in trial.metrics["validation"].items()}
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
        tags=_tags(outcome, trial.key, "trial", **tags),
        points=(*_points(finals | metrics_on_test(trial), trial.curve), *_search(trial.metrics["search"])),
        dataset=_dataset(outcome, "training"),
    )


def _search(attempts: Iterable[Mapping[str, Any]]) -> Iterator[Point]:
    """What a search tried, attempt by attempt; choices have no number and are in the trial's files alone."""
    for number, attempt in enumerate(attempts):
        for name, value in attempt.items():
            if isinstance(value, int | float) and math.isfinite(value):
                yield f"search/{name}", float(value), number


def metrics_on_test(trial: Trial) -> dict[str, float]:
    """The metrics of a trial that come from the evaluation, and may be evaluated again."""
    return {f"test/{name}": value for name, value in trial.test.items() if math.isfinite(value)}


def _texts(params: Mapping[str, Any]) -> dict[str, str]:
    known = {name: value for name, value in params.items() if value is not None}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in known.items()}


def _tags(outcome: Outcome, key: str, kind: str, **more: str) -> dict[str, str]:
    source = {"mlflow.source.name": "graft", "mlflow.source.type": "LOCAL"}
    return {KEY: key, "kind": kind, "dvc.data_md5": outcome.data_md5, **source, **_how(outcome.root, key), **more}


def _how(root: Path, key: str) -> dict[str, str]:
    """On what a stage was run, and whether that took more than it should; nothing if it was not run here."""
    ran = run_journal.read(root, key)
    if ran is None:
        return {}
    unusual = {"attempts": ran.attempts, "batch_parts": ran.batch_parts}
    more = {f"graft.{name}": str(value) for name, value in unusual.items() if value > 1}
    return {"graft.device": ran.device, "graft.threads": str(ran.threads), **more}


def _points(finals: Mapping[str, float | None], curve: Iterable[Mapping[str, float]] = ()) -> tuple[Point, ...]:
    """Final values at step 0 and a curve at its steps; only numbers: MLflow draws an infinity as 1.8e308."""
    points = [(name, value, 0) for name, value in finals.items()]
    points += [(name, value, int(row["step"])) for row in curve for name, value in row.items() if name != "step"]
    return tuple(
        (name, float(value), step) for name, value, step in points if value is not None and math.isfinite(value)
    )


def _summary(strategy: str, scores: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of one strategy, named so that the page draws the strategies next to each other."""
    shown = _shown(strategy)
    found = {f"{name}/{shown}": scores[name]["mean"] for name in SCORES}
    if gain := scores.get("gain_over_scratch"):
        found[f"gain_over_scratch/{shown}"] = gain["mean"]
    return found


def _shown(strategy: str) -> str:
    """A strategy's name as part of a metric's, in which MLflow allows few signs."""
    return strategy.replace(FROM, " from ")


def _label_efficiency(report: Mapping[str, Any]) -> tuple[Point, ...]:
    """Scores and gain by label budget: MLflow draws a metric against its step, and the step is labels per class."""
    summary = dict(report)
    keys = {metric: metric for metric in ("accuracy", lead(summary))} | {"gain": "gain_over_scratch"}
    return tuple(
        (f"{metric}_by_labels/{_shown(name)}", float(row[key]["mean"]), round(labels_a_class(summary, labels)))
        for labels, group in budgets(summary).items()
        for name, row in group.items()
        for metric, key in keys.items()
    )


def _architecture(trained: Trained) -> dict[str, Any]:
    read = ("vocabulary", "length") if trained.description.get("vocabulary") else ("image_size", "channels")
    return {name: trained.description[name] for name in ("backbone", *read)}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _dataset(outcome: Outcome, context: str) -> dict[str, str]:
    """The raw data by DVC's hash; the page shows nothing of such a dataset but its profile."""
    domains = {name: {"n": card["n"], "path": card["path"]} for name, card in outcome.card["domains"].items()}
    profile = json.dumps({"path": "data", "md5": outcome.data_md5, **domains})
    return {"digest": outcome.data_md5[:36], "context": context, "profile": profile}
