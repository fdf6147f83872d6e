import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.views.leaderboard import leaderboard
from flows.views.progress import progress
from tasks.common.errors import GraftError
from tasks.executor import events
from tasks.executor.execute import Event

STEPS = ["prepare", "finetune@a-0", "finetune@a-1", "finetune@b-0", "register"]


def shown(happenings: list[Event], *, terminal: bool) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, width=100, color_system=None)
    with progress(console, STEPS):
        for event in happenings:
            events.tell(event)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_terminal_shows_members_of_a_matrix_in_one_line() -> None:
    output = shown(
        [
            Event("prepare", "skipped"),
            Event("finetune@a-0", "running"),
            Event("finetune@a-0", "done", 1.0),
            Event("finetune@a-1", "restored", 0.1),
            Event("finetune@b-0", "running"),
            Event("finetune@b-0", "running", line="step 10 loss 0.5"),
        ],
        terminal=True,
    )
    last = output[output.rindex("prepare") :]
    assert "up to date" in last
    assert "1 done, 1 from cache, 1 running of 3" in last
    assert "finetune@b-0: step 10 loss 0.5" in last
    assert "register" in last


def test_a_terminal_shows_the_gpus_that_stages_hold_and_says_nothing_of_the_cpu() -> None:
    happenings = [
        Event("prepare", "running", note="on cpu, 1 thread"),
        Event("finetune@a-0", "running", note="on cuda:1, 1 thread"),
        Event("finetune@a-1", "running", note="on cuda:0, 1 thread"),
    ]
    last = shown(happenings, terminal=True).rpartition("prepare")[2]
    assert "cuda:0, cuda:1" in last
    assert "cpu" not in last


def test_what_a_later_step_finds_up_to_date_stays_done() -> None:
    output = shown([Event("prepare", "done", 2.0), Event("prepare", "skipped")], terminal=True)
    assert "up to date" not in output[output.rindex("prepare") :]


def test_a_log_gets_one_line_for_each_step_that_ended() -> None:
    output = shown(
        [
            Event("prepare", "running"),
            Event("prepare", "done", 2.0),
            Event("prepare", "skipped"),
            Event("register", "failed", 1.0),
        ],
        terminal=False,
    )
    assert output.splitlines() == ["✓ prepare: done, 2.0 s", "✗ register: failed, 1.0 s"]


def test_a_step_that_raises_is_told_as_failed() -> None:
    console = Console(file=StringIO(), width=100)
    with progress(console, STEPS), pytest.raises(RuntimeError), events.step("register"):
        raise RuntimeError
    assert "✗ register: failed" in console.file.getvalue()  # type: ignore[attr-defined]


class TestLeaderboard:
    @staticmethod
    def row(mean: float, verdict: str, gain: tuple[float, float, float], **more: object) -> dict[str, object]:
        return {
            "labels_per_class": 10,
            "accuracy": {"mean": mean, "low": mean - 0.02, "high": mean + 0.02},
            "gain_over_scratch": dict(zip(("mean", "low", "high"), gain, strict=True)),
            "verdict": verdict,
            "holds_among_all": True,
            "rank": {"best": 1, "worst": 3},
            "better_than": [],
            **more,
        }

    @pytest.fixture
    def result(self) -> dict[str, Any]:
        strategies = {
            "scratch": self.row(0.90, "baseline", (0.0, 0.0, 0.0)),
            "adaptive_sampling": self.row(
                0.95,
                "positive",
                (0.05, 0.031, 0.069),
                rank={"best": 1, "worst": 1},
                better_than=["scratch", "dann", "linear_probe"],
            ),
            "linear_probe": self.row(
                0.85, "negative", (-0.205, -0.271, -0.133), rank={"best": 20, "worst": 22}, holds_among_all=False
            ),
            "dann": self.row(0.87, "no evidence", (-0.03, -0.07, 0.03), labels_per_class=0),
        }
        few = {name: {**row, "labels_per_class": row["labels_per_class"] and 1} for name, row in strategies.items()}
        few["scratch"] |= {"accuracy": {"mean": 0.6, "low": 0.4, "high": 0.8}}
        return {
            "metric": {"name": "accuracy", "asked": "auto", "fewest_of_a_class": 59, "most_of_a_class": 62},
            "candidate": {"trial": "adaptive_sampling-10-1", "strategy": "adaptive_sampling"},
            "budget": {"labels_per_class": 10, "validation_per_class": 5, "seeds": [0, 1, 2]},
            "test": {"n": 600, "kind": "images"},
            "strategies": strategies,
            "smaller_budgets": {"1": few},
            "companions": {"dann": {"0": {"oracle": {"mean": 0.91, "low": 0.9, "high": 0.92}}}},
        }

    @staticmethod
    def shown(result: dict[str, Any], folder: Path) -> str:
        (folder / "reports").mkdir()
        (folder / "reports/metrics.json").write_text(json.dumps(result))
        console = Console(file=StringIO(), width=80)
        console.print(leaderboard(folder))
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    @pytest.fixture
    def page(self, result: dict[str, Any], tmp_path: Path) -> str:
        return self.shown(result, tmp_path)

    def test_strategies_are_ranked_with_intervals_gains_and_verdicts(self, page: str) -> None:
        lines = [" ".join(line.split()) for line in page.splitlines() if "±" in line]
        assert lines[:5] == [
            "1 ★ adaptive_sampling 95.0 ± 2.0 +5.0 [+3.1, +6.9] ▲ positive",
            "1–3 scratch 90.0 ± 2.0 – baseline",
            "1–3 ° dann 87.0 ± 2.0 -3.0 [-7.0, +3.0] ● no evidence",
            "oracle 91.0 ± 1.0",
            "20–22 linear_probe 85.0 ± 2.0 -20.5 [-27.1, -13.3] ▼ negative†",
        ]

    def test_a_mark_is_explained(self, page: str) -> None:
        assert "† would not hold for all 3 strategies at once." in " ".join(page.split())

    def test_accuracy_is_shown_by_labels_and_under_none_for_those_that_need_none(self, page: str) -> None:
        table = page[page.index("Accuracy % by labels per class") :]
        lines = [" ".join(line.split()) for line in table.splitlines()]
        assert "strategy none 1 10" in lines
        assert "scratch 60.0 ±20.0 90.0 ± 2.0" in lines
        assert "° dann 87.0 ± 2.0" in lines
        assert "adaptive_sampling with 1 label per class is as good as scratch with 10." in lines

    def test_real_differences_are_named(self, page: str) -> None:
        words = " ".join(page.split())
        assert "Really better than others: adaptive_sampling (than scratch, dann and linear_probe)." in words

    def test_a_result_of_another_version_is_no_trace(self, result: dict[str, Any], tmp_path: Path) -> None:
        del result["strategies"]["dann"]["rank"]
        with pytest.raises(GraftError, match="another version"):
            self.shown(result, tmp_path)

    def test_nothing_is_cut_off_at_eighty_columns(self, page: str) -> None:
        assert "…" not in page

    def test_many_budgets_fit_into_eighty_columns(self, result: dict[str, Any], tmp_path: Path) -> None:
        for labels in (2, 3, 4, 5, 6):
            rows = {
                name: {**row, "labels_per_class": row["labels_per_class"] and labels}
                for name, row in result["strategies"].items()
            }
            result["smaller_budgets"][str(labels)] = rows
        page = self.shown(result, tmp_path)
        assert "…" not in page
        assert "scratch 60.0 90.0 90.0 90.0 90.0 90.0 90.0" in " ".join(page.split())

    def test_another_metric_leads_and_accuracy_stands_beside_it(self, result: dict[str, Any], tmp_path: Path) -> None:
        rows = [*result["strategies"].values(), *result["smaller_budgets"]["1"].values()]
        for row in rows:
            row["balanced_accuracy"] = {key: value - 0.2 for key, value in row["accuracy"].items()}
            row["macro_f1"] = {key: value - 0.3 for key, value in row["accuracy"].items()}
        result["metric"] |= {"name": "balanced_accuracy", "fewest_of_a_class": 80, "most_of_a_class": 520}
        page = self.shown(result, tmp_path)
        words = " ".join(page.split())
        assert "…" not in page
        assert "1 ★ adaptive_sampling 75.0 ± 2.0 +5.0 [+3.1, +6.9] ▲ positive" in words
        assert "strategy accuracy % macro-F1 %" in words
        assert "★ adaptive_sampling 95.0 ± 2.0 65.0 ± 2.0" in words
        assert "one class is more than 2 times as frequent as another (80 to 520 per class)" in words
        assert "Balanced accuracy % by labels per class" in words
        assert "scratch 40.0 ±20.0 70.0 ± 2.0" in words

    def test_all_labels_are_the_last_column_and_counted(self, result: dict[str, Any], tmp_path: Path) -> None:
        for row in result["strategies"].values():
            row["labels_per_class"] = row["labels_per_class"] and "all"
        result["budget"] |= {"labels_per_class": "all", "n_train": 1234, "n_validation": 309}
        result["test"]["classes"] = ["a", "b", "c", "d"]
        words = " ".join(self.shown(result, tmp_path).split())
        assert "All labels: 1,234 to train on and 309 to validate, 3 seeds" in words
        assert "by labels per class (all: 308.5 on average)" in words
        assert "strategy none 1 all" in words
        assert "adaptive_sampling with 1 label per class is as good as scratch with all." in words

    def test_one_budget_has_no_second_table(self, result: dict[str, Any], tmp_path: Path) -> None:
        page = self.shown(result | {"smaller_budgets": {}}, tmp_path)
        assert "by labels" not in page

    def test_one_seed_and_one_label_are_not_many(self, result: dict[str, Any], tmp_path: Path) -> None:
        result["budget"] |= {"seeds": [0], "labels_per_class": 1}
        words = " ".join(self.shown(result | {"smaller_budgets": {}}, tmp_path).split())
        assert "1 label per class to train on and 5 to validate, 1 seed, 600 test images" in words

    def test_it_states_what_was_paid_and_what_was_chosen(self, page: str) -> None:
        words = " ".join(page.split())
        assert "10 labels per class to train on and 5 to validate, 3 seeds, 600 test images" in words
        assert "chosen on validation alone: adaptive_sampling-10-1" in words
        assert "° used no labels of the target." in words
        assert "never ranked or promoted" in words
