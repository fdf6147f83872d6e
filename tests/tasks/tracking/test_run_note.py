"""What MLflow's page says of a result."""

from types import SimpleNamespace
from typing import Any

import pytest

from tasks.tracking.run_result import RunResult
from tasks.tracking.run_note import MAX_LETTERS, budget_table, leaderboard, note


def row(mean: float, labels: int, verdict: str = "positive", worst: int = 2) -> dict[str, Any]:
    spread = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}
    return {
        "labels_per_class": labels,
        "accuracy": spread,
        "macro_f1": spread,
        "gain_over_scratch": {"mean": 0.05, "low": 0.031, "high": 0.069},
        "verdict": verdict,
        "rank": {"best": 1, "worst": worst},
    }


@pytest.fixture
def result() -> RunResult:
    """A result with two label budgets and a strategy that needs no labels."""

    def rows(labels: int, scratch: float) -> dict[str, Any]:
        return {
            "fine_tune": row(0.95, labels, worst=1),
            "scratch": row(scratch, labels, "baseline"),
            "mcc": row(0.8, 0),
        }

    report = {
        "metric": {"name": "accuracy", "asked": "auto", "fewest_of_a_class": 59, "most_of_a_class": 62},
        "candidate": {"strategy": "fine_tune", "chosen_by": "mean validation accuracy"},
        "budget": {"labels_per_class": 10, "validation_per_class": 5},
        "test": {"n": 600, "kind": "images"},
        "strategies": rows(10, 0.9),
        "smaller_budgets": {"1": rows(1, 0.6)},
    }
    candidate = SimpleNamespace(name="fine_tune-10-1", strategy="fine_tune")
    return SimpleNamespace(report=report, metric="accuracy", candidate=candidate)  # type: ignore[return-value]


def test_the_leaderboard_has_ranks_labels_gains_and_verdicts(result: RunResult) -> None:
    table = leaderboard(result)
    assert table["columns"][:3] == ["strategy", "rank", "labels per class"]
    assert [line[:3] for line in table["data"]] == [
        ["fine_tune", "1", "10"],
        ["scratch", "1–2", "10"],
        ["mcc", "1–2", "none"],
    ]
    assert table["data"][0][-2:] == ["+0.050 [+0.031, +0.069]", "positive"]
    assert table["data"][1][-2:] == ["", "baseline"]


def test_accuracy_is_listed_by_label_budget(result: RunResult) -> None:
    assert budget_table(result) == {
        "columns": ["strategy", "none", "1", "10"],
        "data": [
            ["fine_tune", "", "0.950 ± 0.020", "0.950 ± 0.020"],
            ["scratch", "", "0.600 ± 0.020", "0.900 ± 0.020"],
            ["mcc", "0.800 ± 0.020", "", ""],
        ],
    }


def test_the_note_says_what_labels_are_worth(result: RunResult) -> None:
    text = note(result, "1", {})
    assert "fine_tune with 1 label per class is as good as scratch with 10." in text
    assert "| scratch |  | 0.600 ± 0.020 | 0.900 ± 0.020 |" in text


def test_one_budget_has_no_table_of_budgets(result: RunResult) -> None:
    result.report["smaller_budgets"] = {}
    assert "by labels" not in note(result, "1", {})


def test_more_runs_than_there_is_room_for_end_in_dots(result: RunResult) -> None:
    few = note(result, "1", {"fine_tune-10-0": "a" * 32})
    assert few.endswith("workflowType=machine_learning)")
    many = note(result, "1", {f"fine_tune-10-{seed}": "a" * 32 for seed in range(200)})
    assert MAX_LETTERS - 200 < len(many) <= MAX_LETTERS
    assert many.endswith("workflowType=machine_learning), …")
