from io import StringIO

import pytest
from rich.console import Console

from flows.views.progress import progress
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
