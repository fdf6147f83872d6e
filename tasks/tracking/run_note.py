"""The note and the tables on the page of a flow's run in MLflow."""

from collections.abc import Mapping
from typing import Any

from graft.data.label_budget import by_size
from tasks.results.efficiency import candidates_match, score_by_labels
from tasks.results.read import beside, budgets, heading, lead, metric_in_words, ranked, things
from tasks.results.words import labels_in_words, leads_in_words, rank
from tasks.tracking.outcome import Outcome

Table = dict[str, list[Any]]
"""The form in which MLflow stores tables: {"columns": names, "data": rows}."""
MAX_LETTERS = 8000
"""MLflow truncates the note at this length. Links are dropped first: the table of trials lists all runs."""


def note(outcome: Outcome, experiment_id: str, run_ids: Mapping[str, str]) -> str:
    """The result in Markdown: the candidate, the leaderboard, its metric by label budget, links to the trials' runs."""
    candidate, report = outcome.candidate, outcome.report
    scores, budget = report["strategies"][candidate.strategy], report["budget"]
    lines = [
        f"**Candidate: `{candidate.name}`**, chosen by {report['candidate']['chosen_by']}; "
        f"{candidate.strategy}: {scores['verdict']}. {candidates_match(report)}".rstrip(),
        "",
        f"{labels_in_words(budget['labels_per_class'])} for training, {budget['validation_per_class']} for validation, "
        f"{report['test']['n']} test {things(report)}. Mean over seeds with its interval; the gain is over `scratch`. "
        f"A rank is a range where the data do not determine it. {leads_in_words(report)}",
        "",
        *_markdown(leaderboard(outcome)),
        "",
    ]
    if len(budgets(report)) > 1:
        lines += [
            f"{heading(lead(report))} by labels per class, ± half its interval:",
            "",
            *_markdown(budget_table(outcome)),
            "",
        ]
    links = [_link(name, experiment_id, run_id) for name, run_id in run_ids.items()]
    text = "\n".join(lines)
    return f"{text}\n{_fitting(links, MAX_LETTERS - len(text) - 1)}"


def leaderboard(outcome: Outcome) -> Table:
    """The strategies, the best on the test split first, by the lead metric and the further ones."""
    metrics = _shown(outcome.report)
    names = [metric_in_words(metric).replace("-", " ") for metric in metrics]
    columns = ["strategy", "rank", "labels per class", *names, "gain over scratch", "verdict"]
    return {"columns": columns, "data": [_row(name, scores, metrics) for name, scores in ranked(outcome.report)]}


def _shown(report: dict[str, Any]) -> list[str]:
    """The lead metric, then accuracy and macro F1."""
    return [lead(report), *(metric for metric in beside(report) if metric != "balanced_accuracy")]


def budget_table(outcome: Outcome) -> Table:
    """The lead metric per strategy and label budget; strategies without labels have a column of their own."""
    scores = score_by_labels(outcome.report)
    columns = sorted({labels for by_labels in scores.values() for labels in by_labels}, key=by_size)
    rows = [
        [name, *(_spread(by_labels[labels]) if labels in by_labels else "" for labels in columns)]
        for name, by_labels in scores.items()
    ]
    return {"columns": ["strategy", *(str(labels or "none") for labels in columns)], "data": rows}


def trial_table(outcome: Outcome, run_ids: Mapping[str, str]) -> Table:
    """The trials of this result with their runs, which are older ones where a stage was cached."""
    metric = outcome.metric
    rows = [
        [
            trial.name,
            trial.strategy,
            trial.metrics["labels_per_class"],
            trial.metrics["seed"],
            trial.test.get(metric),
            run_ids[trial.name],
            trial.key,
        ]
        for trial in outcome.trials
    ]
    columns = [
        "trial",
        "strategy",
        "labels per class",
        "seed",
        f"test {metric_in_words(metric)}",
        "run_id",
        "stage_key",
    ]
    return {"columns": columns, "data": rows}


def _row(name: str, scores: dict[str, Any], metrics: list[str]) -> list[str]:
    gain = scores.get("gain_over_scratch")
    return [
        name,
        rank(scores),
        str(scores["labels_per_class"] or "none"),
        *(interval(scores[metric]) for metric in metrics),
        interval(gain, sign="+") if gain and scores["verdict"] != "baseline" else "",
        scores["verdict"],
    ]


def interval(value: Mapping[str, float | None], *, sign: str = "") -> str:
    """A mean with its interval, as far as they are known; a single seed has no interval."""
    mean, low, high = (value[name] for name in ("mean", "low", "high"))
    if mean is None:
        return ""
    return (
        f"{mean:{sign}.3f}" if low is None or high is None else f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
    )


def _spread(value: Mapping[str, float | None]) -> str:
    mean, low, high = (value[name] for name in ("mean", "low", "high"))
    return f"{mean:.3f}" if low is None or high is None else f"{mean:.3f} ± {(high - low) / 2:.3f}"


def _markdown(table: Table) -> list[str]:
    lines = [table["columns"], ["---"] * len(table["columns"]), *table["data"]]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def _fitting(links: list[str], room: int) -> str:
    """As many links as fit into `room` characters, and an ellipsis if there are more."""
    text = "Runs: "
    for i, link in enumerate(links):
        more = f"{', ' if i else ''}{link}"
        if len(text) + len(more) + len(", …") > room:
            return f"{text}, …" if i else ""
        text += more
    return text


def _link(name: str, experiment_id: str, run_id: str) -> str:
    return f"[{name}](#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning)"
