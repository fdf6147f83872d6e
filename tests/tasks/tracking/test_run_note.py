"""What MLflow's page says of a result."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tasks.results.metrics_file import RankRange, StrategyRow
from tasks.tracking.run_note import MAX_LETTERS, budget_table, leaderboard_table, note
from tasks.tracking.run_result import RunResult
from tests.tasks.support.results_fixture import row, summary


def strategy_row(mean: float, labels: int, verdict: str = "positive", worst: int = 2) -> StrategyRow:
    return row(mean, verdict, labels=labels, gain=(0.05, 0.031, 0.069), rank=RankRange(1, worst))


@pytest.fixture
def result() -> RunResult:
    """A result with two label budgets and a strategy that needs no labels."""

    def rows(labels: int, scratch: float) -> dict[str, StrategyRow]:
        return {
            "fine_tune": strategy_row(0.95, labels, worst=1),
            "scratch": strategy_row(scratch, labels, "baseline"),
            "mcc": strategy_row(0.8, 0),
        }

    found = summary(rows(10, 0.9), smaller={1: rows(1, 0.6)})
    candidate = SimpleNamespace(name="fine_tune-10-1", strategy="fine_tune")
    return SimpleNamespace(summary=found, candidate=candidate)  # type: ignore[return-value]


def test_the_leaderboard_has_ranks_labels_gains_and_verdicts(result: RunResult) -> None:
    table = leaderboard_table(result.summary)
    assert table["columns"][:3] == ["rank", "strategy", "labels per class"]
    assert [line[:3] for line in table["data"]] == [
        ["1", "fine_tune ★", "10"],
        ["1–2", "scratch", "10"],
        ["1–2", "mcc", "none"],
    ]
    assert table["data"][0][-2:] == ["+5.0 [+3.1, +6.9]", "▲ positive"]
    assert table["data"][1][-2:] == ["–", "baseline"]


def test_accuracy_is_listed_by_label_budget(result: RunResult) -> None:
    assert budget_table(result.summary) == {
        "columns": ["strategy", "none", "1", "10"],
        "data": [
            ["fine_tune", "", "95.0 ± 2.0", "95.0 ± 2.0"],
            ["scratch", "", "60.0 ± 2.0", "90.0 ± 2.0"],
            ["mcc", "80.0 ± 2.0", "", ""],
        ],
    }


def test_the_note_says_what_labels_are_worth(result: RunResult) -> None:
    text = note(result, "1", {})
    assert "fine_tune with 1 label per class is as good as scratch with 10." in text
    assert "| scratch |  | 60.0 ± 2.0 | 90.0 ± 2.0 |" in text


def test_one_budget_has_no_table_of_budgets(result: RunResult) -> None:
    one = SimpleNamespace(summary=replace(result.summary, smaller_budgets={}), candidate=result.candidate)
    assert "by labels" not in note(one, "1", {})  # type: ignore[arg-type]


def test_more_runs_than_there_is_room_for_end_in_dots(result: RunResult) -> None:
    few = note(result, "1", {"fine_tune-10-0": "a" * 32})
    assert few.endswith("workflowType=machine_learning)")
    many = note(result, "1", {f"fine_tune-10-{seed}": "a" * 32 for seed in range(200)})
    assert MAX_LETTERS - 200 < len(many) <= MAX_LETTERS
    assert many.endswith("workflowType=machine_learning), …")
