"""What is run again, how often, and with what; and what is not."""

import pytest

from tasks.executor import run_journal
from tasks.executor.execute import Event, StageFailed
from tasks.executor.retries import once_more
from tasks.executor.schedule import RunFailed
from tasks.stage.key import stage_keys
from tests.tasks.support.dvc_sandbox import Sandbox, states

COUNT = "echo again >> tries; "
"""The start of a command that counts its runs."""


def tries(empty: Sandbox) -> int:
    return len(empty.read("tries").split())


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.executor.retries.FIRST_DELAY", 0.01)


@pytest.mark.parametrize(
    ("command", "meta", "times"),
    [
        ("exit 75", {}, 3),
        ("kill -9 $$", {}, 3),
        ("exit 75", {"retries": 4}, 5),
        ("exit 75", {"retries": 0}, 1),
        ("exit 1", {}, 1),
        ("exit 1", {"retries": 1}, 2),
        ("exit 2", {"retries": 5}, 1),
    ],
)
def test_what_may_pass_is_run_again_and_what_cannot_is_not(
    empty: Sandbox, command: str, meta: dict[str, int], times: int
) -> None:
    empty.stages(one={"cmd": f"{COUNT}{command}", "outs": ["x"], "meta": meta})
    with pytest.raises(RunFailed) as caught:
        empty.run()
    assert tries(empty) == times
    assert ("to run it again cannot help" in str(caught.value)) == (command == "exit 2")


def test_memory_that_is_short_halves_the_parts_of_a_batch_until_they_fit(empty: Sandbox) -> None:
    command = f"{COUNT}test $GRAFT_BATCH_PARTS -ge 4 && echo fits > x || exit 71"
    empty.stages(big={"cmd": command, "outs": ["x"]}, next={"cmd": "test $GRAFT_BATCH_PARTS = 1"})
    seen: list[Event] = []
    empty.pipeline(on_event=seen.append).run()
    assert tries(empty) == 3
    assert states(seen, "big") == ["queued", "running", "again", "running", "again", "running", "done"]
    assert "each batch in 4 parts" in [event.note for event in seen if event.state == "again"][-1]
    keys = stage_keys(empty.root / "dvc.lock")
    assert run_journal.read(empty.root, keys["big"]) == run_journal.Ran("cpu", 1, attempts=3, batch_parts=4)
    assert run_journal.read(empty.root, keys["next"]) == run_journal.Ran("cpu", 1)


def test_a_stage_that_never_fits_fails_in_the_end(empty: Sandbox) -> None:
    empty.stages(big={"cmd": f"{COUNT}exit 71", "outs": ["x"]})
    with pytest.raises(RunFailed, match="memory was short"):
        empty.run()
    assert tries(empty) == 5, "whole, and in 2, 4, 8 and 16 parts"


def test_a_run_that_stops_waits_for_no_further_attempt(empty: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.executor.retries.FIRST_DELAY", 3600.0)
    empty.stages(flaky={"cmd": "exit 75", "outs": ["x"]}, bad={"cmd": "sleep 0.2; exit 2", "outs": ["y"]})
    with pytest.raises(RunFailed) as caught:
        empty.run(jobs=2)
    how = {outcome.name: outcome.how for outcome in caught.value.outcomes}
    assert (how["bad"], how["flaky"]) == ("failed", "not_run")


def test_waiting_times_grow() -> None:
    delays = [once_more("passing", failures, 1, 3) for failures in (1, 2, 3)]
    assert [again.seconds for again in delays if again] == [0.01, 0.04, 0.16]
    assert once_more("passing", 4, 1, 3) is None


def test_an_edited_input_is_a_fault_that_passes(empty: Sandbox) -> None:
    empty.write("source.txt", "old")
    command = f"{COUNT}cat source.txt > x; test -e tried || {{ touch tried; echo new > source.txt; }}"
    empty.stages(copy={"cmd": command, "deps": ["source.txt"], "outs": ["x"]})
    assert empty.run() == {"copy": "ran"}
    assert (empty.read("x"), tries(empty)) == ("new\n", 2)
    assert empty.status() == {}


def test_bad_needs_are_refused_all_at_once(empty: Sandbox) -> None:
    empty.stages(one={"cmd": "true", "meta": {"threads": 0, "device": 2, "retries": "often"}})
    with pytest.raises(Exception, match="3 problems") as caught:
        empty.run()
    for named in ("meta.threads: 0", "meta.device: 2", "meta.retries: 'often'"):
        assert named in str(caught.value)


def test_a_failure_says_of_which_kind_it_is() -> None:
    assert StageFailed("x", "failed", fault="permanent").permanent
    assert not StageFailed("x", "failed", fault="unknown").permanent
