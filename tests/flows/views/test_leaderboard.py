"""The result in the terminal."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from flows.views.leaderboard import leaderboard_view
from graft.measures.findings import Interval
from tasks.common.errors import GraftError
from tasks.common.files import write_json
from tasks.common.places import METRICS
from tasks.results.metrics_file import LeadMetric, RankRange, SeedScore, StrategyRow, Summary
from tests.tasks.support.results_fixture import companion, row, score, summary


@pytest.fixture
def result() -> Summary:
    better = ("scratch", "dann", "linear_probe")
    strategies = {
        "scratch": row(0.90, "baseline", gain=(0.0, 0.0, 0.0)),
        "adaptive_sampling": row(0.95, gain=(0.05, 0.031, 0.069), rank=RankRange(1, 1), better_than=better),
        "linear_probe": row(
            0.85, "negative", gain=(-0.205, -0.271, -0.133), rank=RankRange(20, 22), holds_among_all=False
        ),
        "dann": row(0.87, "no evidence", gain=(-0.03, -0.07, 0.03), labels=0),
    }
    few = with_labels(strategies, 1)
    few["scratch"] = replace(few["scratch"], accuracy=score(0.6, 0.2))
    oracle = companion(
        0.91,
    )
    return summary(
        strategies,
        chosen="adaptive_sampling",
        smaller={1: few},
        companions={"dann": {0: {"oracle": replace(oracle, low=0.9, high=0.92)}}},
    )


def with_labels(rows: dict[str, StrategyRow], labels: int | str) -> dict[str, StrategyRow]:
    """The rows with another label budget."""
    return {name: replace(found, labels_per_class=found.labels_per_class and labels) for name, found in rows.items()}


def shown(result: Summary, folder: Path) -> str:
    write_json(folder / METRICS, result.to_json())
    console = Console(file=StringIO(), width=80)
    console.print(leaderboard_view(folder))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def page(result: Summary, tmp_path: Path) -> str:
    return shown(result, tmp_path)


def test_strategies_are_ranked_with_intervals_gains_and_verdicts(page: str) -> None:
    lines = [" ".join(line.split()) for line in page.splitlines() if "±" in line]
    assert lines[:5] == [
        "1 ★ adaptive_sampling 95.0 ± 2.0 +5.0 [+3.1, +6.9] ▲ positive",
        "1–3 scratch 90.0 ± 2.0 – baseline",
        "1–3 ° dann 87.0 ± 2.0 −3.0 [−7.0, +3.0] ● no evidence",
        "oracle 91.0 ± 1.0",
        "20–22 linear_probe 85.0 ± 2.0 −20.5 [−27.1, −13.3] ▼ negative†",
    ]


def test_a_mark_is_explained(page: str) -> None:
    assert "† would not hold for all 3 strategies at once." in " ".join(page.split())


def test_accuracy_is_shown_by_labels_and_under_none_for_those_that_need_none(page: str) -> None:
    table = page[page.index("Accuracy % by labels per class") :]
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert "strategy none 1 10" in lines
    assert "scratch 60.0 ± 20.0 90.0 ± 2.0" in lines
    assert "° dann 87.0 ± 2.0" in lines
    assert "adaptive_sampling with 1 label per class is as good as scratch with 10." in lines


def test_real_differences_are_named(page: str) -> None:
    words = " ".join(page.split())
    assert "Really better than others: adaptive_sampling (than scratch, dann and linear_probe)." in words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, r"metrics\.json: has version 99 of its schema, this version of Graft reads version 2"),
        ({"schema": None}, r"metrics\.json: names no version of its schema, this version of Graft reads version 2"),
        ({"candidate": {}}, r"metrics\.json: a damaged result: .*validation_accuracy"),
        ({"budget": {}}, r"metrics\.json: a damaged result: budget\.labels_per_class: Field required"),
    ],
)
def test_a_result_of_another_version_is_reported_as_such(
    result: Summary, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    write_json(tmp_path / METRICS, result.to_json() | change)
    with pytest.raises(GraftError, match=message) as caught:
        leaderboard_view(tmp_path)
    assert caught.value.hint == "Make it again: graft run"


def test_nothing_is_cut_off_at_eighty_columns(page: str) -> None:
    assert "…" not in page


def test_many_budgets_fit_into_eighty_columns(result: Summary, tmp_path: Path) -> None:
    more = {labels: with_labels(dict(result.strategies), labels) for labels in (2, 3, 4, 5, 6)}
    page = shown(replace(result, smaller_budgets={**result.smaller_budgets, **more}), tmp_path)
    assert "…" not in page
    assert "scratch 60.0 90.0 90.0 90.0 90.0 90.0 90.0" in " ".join(page.split())


def test_another_metric_leads_and_accuracy_stands_beside_it(result: Summary, tmp_path: Path) -> None:
    def less(found: SeedScore, by: float) -> SeedScore:
        lower = Interval(found.mean - by, (found.low or 0) - by, (found.high or 0) - by)
        return SeedScore(lower.mean, lower.low, lower.high, found.seeds)

    def changed(rows: dict[str, StrategyRow]) -> dict[str, StrategyRow]:
        return {
            name: replace(found, balanced_accuracy=less(found.accuracy, 0.2), macro_f1=less(found.accuracy, 0.3))
            for name, found in rows.items()
        }

    result = replace(
        result,
        metric=LeadMetric("balanced_accuracy", "auto", 80, 520),
        strategies=changed(dict(result.strategies)),
        smaller_budgets={1: changed(dict(result.smaller_budgets[1]))},
    )
    page = shown(result, tmp_path)
    words = " ".join(page.split())
    assert "…" not in page
    assert "1 ★ adaptive_sampling 75.0 ± 2.0 +5.0 [+3.1, +6.9] ▲ positive" in words
    assert "strategy accuracy % macro-F1 %" in words
    assert "★ adaptive_sampling 95.0 ± 2.0 65.0 ± 2.0" in words
    assert "one class is more than 2 times as frequent as another (80 to 520 per class)" in words
    assert "Balanced accuracy % by labels per class" in words
    assert "scratch 40.0 ± 20.0 70.0 ± 2.0" in words


def test_all_labels_are_the_last_column_and_counted(result: Summary, tmp_path: Path) -> None:
    budget = replace(result.budget, labels_per_class="all", n_paid=1234)
    result = replace(
        result,
        strategies=with_labels(dict(result.strategies), "all"),
        budget=budget,
        test=replace(result.test, classes=("a", "b", "c", "d")),
    )
    words = " ".join(shown(result, tmp_path).split())
    assert "All 1,234 labels, 3 seeds" in words
    assert "by labels per class (all: 308.5 on average)" in words
    assert "strategy none 1 all" in words
    assert "adaptive_sampling with 1 label per class is as good as scratch with all." in words


def test_one_budget_has_no_second_table(result: Summary, tmp_path: Path) -> None:
    assert "by labels" not in shown(replace(result, smaller_budgets={}), tmp_path)


def test_one_seed_and_one_label_are_not_many(result: Summary, tmp_path: Path) -> None:
    budget = replace(result.budget, seeds=(0,), labels_per_class=1)
    words = " ".join(shown(replace(result, budget=budget, smaller_budgets={}), tmp_path).split())
    assert "1 label per class, 40 in all, 1 seed, 600 test images" in words


def test_it_states_what_was_paid_and_what_was_chosen(page: str) -> None:
    words = " ".join(page.split())
    assert "10 labels per class, 40 in all, 3 seeds, 600 test images" in words
    assert "chosen by cross-validation alone: adaptive_sampling-10-1" in words
    assert "° used no labels of the target." in words
    assert "never ranked or promoted" in words


def test_what_is_written_is_read_again_without_a_change(result: Summary) -> None:
    written = json.loads(json.dumps(result.to_json()))
    assert Summary.from_json(written) == result
    assert Summary.from_json(written).to_json() == result.to_json()
