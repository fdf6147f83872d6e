"""The text and the tables of a flow's run page in MLflow."""

from collections.abc import Mapping
from typing import Any

from tasks.records.outcome import Outcome
from tasks.summary_view import ranked

Table = dict[str, list[Any]]
"""As MLflow stores tables: {"columns": names, "data": rows}."""
MAX_LINKS = 50
"""MLflow cuts the text off at 8,000 characters; the table of trials names all runs."""


def note(outcome: Outcome, experiment_id: str, run_ids: Mapping[str, str]) -> str:
    """The result in Markdown: who won, the leaderboard, and a link to every trial's run."""
    candidate, report = outcome.candidate, outcome.report
    scores = report["strategies"][candidate.strategy]
    table = leaderboard(outcome)
    links = [_link(name, experiment_id, run_id) for name, run_id in run_ids.items()]
    return "\n".join(
        [
            f"**Candidate: `{candidate.name}`**, chosen by {report['candidate']['chosen_by']}; "
            f"{candidate.strategy}: {scores['verdict']}.",
            "",
            f"{report['budget']['labels_per_class']} labels a class for training, "
            f"{report['budget']['validation_per_class']} for validation, {report['test']['n']} test pictures. "
            "Mean over seeds with its interval; the gain is over `scratch`.",
            "",
            *_markdown(table),
            "",
            "Runs: " + ", ".join(links[:MAX_LINKS]) + (", …" if len(links) > MAX_LINKS else ""),
        ]
    )


def leaderboard(outcome: Outcome) -> Table:
    """The strategies, the most accurate on the test split first."""
    columns = ["strategy", "accuracy", "macro F1", "gain over scratch", "verdict"]
    return {"columns": columns, "data": [_row(name, scores) for name, scores in ranked(outcome.report)]}


def trial_table(outcome: Outcome, run_ids: Mapping[str, str]) -> Table:
    """The trials that this result is made of, with the runs that show them: older ones where a stage was cached."""
    rows = [
        [trial.name, trial.strategy, trial.metrics["seed"], trial.test.get("accuracy"), run_ids[trial.name], trial.key]
        for trial in outcome.trials
    ]
    return {"columns": ["trial", "strategy", "seed", "test accuracy", "run_id", "stage_key"], "data": rows}


def _row(name: str, scores: Mapping[str, Any]) -> list[str]:
    gain = scores.get("gain_over_scratch")
    return [
        name,
        interval(scores["accuracy"]),
        interval(scores["macro_f1"]),
        interval(gain, sign="+") if gain and scores["verdict"] != "baseline" else "",
        scores["verdict"],
    ]


def interval(value: Mapping[str, float | None], *, sign: str = "") -> str:
    """A mean with its interval, as far as they are known: a single seed has none."""
    mean, low, high = (value[name] for name in ("mean", "low", "high"))
    if mean is None:
        return ""
    return (
        f"{mean:{sign}.3f}" if low is None or high is None else f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
    )


def _markdown(table: Table) -> list[str]:
    lines = [table["columns"], ["---"] * len(table["columns"]), *table["data"]]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def _link(name: str, experiment_id: str, run_id: str) -> str:
    return f"[{name}](#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning)"
