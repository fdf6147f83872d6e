"""The note and the tables on the page of a flow's run in MLflow."""

from collections.abc import Mapping
from typing import Any

from graft.data.label_budget import by_size
from tasks.results.efficiency import candidates_match, score_by_labels
from tasks.results.leaderboard import leaderboard
from tasks.results.metrics_file import Summary
from tasks.results.words import heading, leads_in_words, metric_in_words, paid_in_words, score_in_words
from tasks.tracking.markdown import table_lines
from tasks.tracking.run_result import RunResult

Table = dict[str, list[Any]]
"""The form in which MLflow stores tables: {"columns": names, "data": rows}."""
MAX_LETTERS = 8000
"""MLflow truncates the note at this length. Links are dropped first: the table of trials lists all runs."""


def note(result: RunResult, experiment_id: str, run_ids: Mapping[str, str]) -> str:
    """The result in Markdown: the candidate, the leaderboard, its metric by label budget, links to the trials' runs."""
    candidate, summary = result.candidate, result.summary
    lines = [
        f"**Candidate: `{candidate.name}`**, chosen by {summary.candidate.chosen_by}; "
        f"{candidate.strategy}: {summary.chosen.verdict}. {candidates_match(summary)}".rstrip(),
        "",
        f"{paid_in_words(summary.budget)}, {summary.test.n} test {summary.things}. Mean ± half its interval over "
        f"seeds; the gain is over `scratch`. A rank is a range where the data leave it open. {leads_in_words(summary)}",
        "",
        *_markdown(leaderboard_table(summary)),
        "",
    ]
    if len(summary.budgets()) > 1:
        lines += [
            f"{heading(summary.lead)} % by labels per class:",
            "",
            *_markdown(budget_table(summary)),
            "",
        ]
    links = [_link(name, experiment_id, run_id) for name, run_id in run_ids.items()]
    text = "\n".join(lines)
    return f"{text}\n{_fitting(links, MAX_LETTERS - len(text) - 1)}"


def leaderboard_table(summary: Summary) -> Table:
    """The strategies, the best on the test split first."""
    board = leaderboard(summary)
    return {"columns": board.headings, "data": board.cells}


def budget_table(summary: Summary) -> Table:
    """The lead metric per strategy and label budget; strategies without labels have a column of their own."""
    scores = score_by_labels(summary)
    columns = sorted({labels for by_labels in scores.values() for labels in by_labels}, key=by_size)
    rows = [
        [name, *(score_in_words(by_labels[labels]) if labels in by_labels else "" for labels in columns)]
        for name, by_labels in scores.items()
    ]
    return {"columns": ["strategy", *(str(labels or "none") for labels in columns)], "data": rows}


def trial_table(result: RunResult, run_ids: Mapping[str, str]) -> Table:
    """The trials of this result with their runs, which are older ones where a stage was cached."""
    metric = result.metric
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
        for trial in result.trials
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


def _markdown(table: Table) -> list[str]:
    return table_lines(table["columns"], table["data"])


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
