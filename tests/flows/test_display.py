import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from flows.display import progress
from flows.leaderboard import leaderboard
from tasks import events
from tasks.executor.execution import Event

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
    @pytest.fixture
    def page(self, tmp_path: Path) -> str:
        def row(mean: float, verdict: str, gain: dict[str, float | None]) -> dict[str, object]:
            interval = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}
            return {"accuracy": interval, "macro_f1": interval, "gain_over_scratch": gain, "verdict": verdict}

        none = {"mean": 0.0, "low": 0.0, "high": 0.0}
        result = {
            "candidate": {"trial": "fine_tune-1", "strategy": "fine_tune"},
            "budget": {"labels_per_class": 10, "validation_per_class": 5, "seeds": [0, 1, 2]},
            "test": {"n": 600},
            "strategies": {
                "scratch": row(0.90, "baseline", none),
                "fine_tune": row(0.95, "positive", {"mean": 0.05, "low": 0.031, "high": 0.069}),
                "linear_probe": row(0.85, "negative", {"mean": -0.05, "low": -0.07, "high": -0.03}),
            },
        }
        (tmp_path / "reports").mkdir()
        (tmp_path / "reports/metrics.json").write_text(json.dumps(result))
        console = Console(file=StringIO(), width=80)
        console.print(leaderboard(tmp_path))
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    def test_strategies_are_ranked_with_intervals_gains_and_verdicts(self, page: str) -> None:
        lines = [line for line in page.splitlines() if "±" in line]
        assert [line.split()[0].strip("★") or line.split()[1] for line in lines] == [
            "fine_tune",
            "scratch",
            "linear_probe",
        ]
        assert "95.0 ± 2.0" in lines[0]
        assert "+5.0 [+3.1, +6.9]" in lines[0]
        assert "▲ positive" in lines[0]
        assert "baseline" in lines[1]
        assert "▼ negative" in lines[2]

    def test_nothing_is_cut_off_at_eighty_columns(self, page: str) -> None:
        assert "…" not in page

    def test_it_states_what_was_paid_and_what_was_chosen(self, page: str) -> None:
        words = " ".join(page.split())
        assert "10 labels a class to learn from and 5 to choose by, 3 seeds, 600 test pictures" in words
        assert "chosen on validation alone: fine_tune-1" in words
