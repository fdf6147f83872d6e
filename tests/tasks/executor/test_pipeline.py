"""The executor does what `dvc repro` would: what runs, what is skipped, what is restored, and what a failure means."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dvc.repo.index import Index
from dvc.stage import Stage

from tasks.common.errors import PASSING_FAULT, GraftError
from tasks.executor.dvc.dvc_project import Claim, Project
from tasks.executor.execute import Event, Outcome
from tasks.executor.pipeline import Pipeline
from tasks.executor.schedule import Job, RunFailed
from tests.tasks.support.dvc_sandbox import Sandbox, failing, join, states

REPOSITORY = Path(__file__).parents[3]


ALL = ["data.dvc", "prepare", "train@a", "train@b", "report"]


def test_first_run_makes_everything_and_the_second_nothing(sandbox: Sandbox) -> None:
    first = sandbox.run()
    assert list(first) == ALL
    assert first.pop("data.dvc") == "up_to_date"
    assert set(first.values()) == {"ran"}
    assert sandbox.runs() == ["a", "b", "prepare", "report"]
    assert sandbox.status() == {}

    assert set(sandbox.run().values()) == {"up_to_date"}
    assert sandbox.runs() == []


def test_a_parameter_reruns_what_reads_it_and_put_back_is_restored(finished: Sandbox) -> None:
    finished.write("params.yaml", "lr: 0.2\nkinds: [a, b]\n")
    outcomes = finished.run()
    assert finished.runs() == ["a", "b"]
    assert outcomes["report"] == "up_to_date"  # the models did not change: nobody reads lr

    finished.write("params.yaml", "lr: 0.1\nkinds: [a, b]\n")
    assert finished.run()["train@a"] == "restored"
    assert finished.runs() == []
    assert finished.status() == {}


def test_edited_code_reruns_the_stages_that_list_it(finished: Sandbox) -> None:
    finished.write("join.py", finished.read("join.py").replace("+ out)", "+ out.upper())"))
    finished.run()
    assert finished.runs() == ["a", "b", "report"]
    assert finished.read("model-a.txt") == "aMODEL-A.TXT"


def test_a_stage_that_made_the_same_again_stops_the_wave(finished: Sandbox) -> None:
    finished.write("data/raw.txt", "a different tail")
    outcomes = finished.run()
    assert outcomes == dict.fromkeys(ALL, "up_to_date") | {"data.dvc": "committed", "prepare": "ran"}
    assert finished.runs() == ["prepare"]
    assert finished.status() == {}


def test_new_data_is_committed_and_reruns_all(finished: Sandbox) -> None:
    finished.write("data/raw.txt", "xyz")
    assert finished.run()["data.dvc"] == "committed"
    assert finished.read("model-b.txt") == "xmodel-b.txt"
    assert finished.runs() == ["a", "b", "prepare", "report"]


def test_new_data_is_left_alone_where_somebody_has_to_look_at_it_first(finished: Sandbox) -> None:
    pointer, lock = finished.read("data.dvc"), finished.read("dvc.lock")
    finished.write("data/raw.txt", "xyz")
    with pytest.raises(RunFailed, match=r"data is no longer what data\.dvc records") as caught:
        finished.pipeline(takes_data=False).run()
    assert caught.value.ends_with == PASSING_FAULT
    assert (finished.read("data.dvc"), finished.read("dvc.lock")) == (pointer, lock)
    assert finished.runs() == []


def test_data_that_changes_after_it_was_recorded_is_not_read(finished: Sandbox) -> None:
    """`dvc.lock` would name data that no cache holds."""
    lock = finished.read("dvc.lock")

    def change(event: Event) -> None:
        if (event.stage, event.state) == ("data.dvc", "skipped"):
            finished.write("data/raw.txt", "xyz")

    with pytest.raises(RunFailed, match=r"data changed after the \.dvc file of it was written"):
        finished.pipeline(on_event=change).run()
    assert finished.read("dvc.lock") == lock
    assert finished.runs() == []


def test_what_is_settled_is_not_looked_at_again(finished: Sandbox) -> None:
    finished.write("data/raw.txt", "xyz")
    finished.write("params.yaml", "lr: 0.2\nkinds: [a, b]\n")
    pipeline = finished.pipeline()
    with pipeline.opened():
        first = pipeline.run(["prepare"])
        finished.write("data/raw.txt", "abc")
        then = pipeline.run(["train"])
        last = pipeline.run()
    assert [outcome.name for outcome in first] == ["data.dvc", "prepare"]
    assert {outcome.name: outcome.how for outcome in then} == {"train@a": "ran", "train@b": "ran"}
    assert [outcome.name for outcome in last] == ["report"]
    assert finished.read("model-a.txt") == "xmodel-a.txt"


def _counting(method: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    """The method, which notes the first argument of every call."""

    def counted(first: Any, *others: Any, **named: Any) -> Any:
        calls.append(first)
        return method(first, *others, **named)

    return counted


def test_a_graph_is_read_and_judged_once_and_again_only_for_what_a_stage_changed(
    finished: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished.write("params.yaml", "lr: 0.2\nkinds: [a, b]\n")
    reads, asked = [], []
    monkeypatch.setattr(Index, "from_repo", _counting(Index.from_repo, reads))
    monkeypatch.setattr(Stage, "changed", _counting(Stage.changed, asked))
    pipeline = finished.pipeline()
    with pipeline.opened():
        pipeline.status()
        how = {
            outcome.name: outcome.how for target in ("prepare", "train", "report") for outcome in pipeline.run([target])
        }
    assert how == {
        "data.dvc": "up_to_date",
        "prepare": "up_to_date",
        "train@a": "ran",
        "train@b": "ran",
        "report": "up_to_date",
    }
    assert len(reads) == 1
    assert [getattr(stage, "name", "data.dvc") for stage in asked] == ["data.dvc", "report"]


def test_a_deleted_output_is_restored(finished: Sandbox) -> None:
    (finished.root / "model-a.txt").unlink()
    assert finished.run()["train@a"] == "restored"
    assert finished.read("model-a.txt") == "amodel-a.txt"
    assert finished.runs() == []


def test_a_member_of_a_matrix_leaves_and_comes_back(finished: Sandbox) -> None:
    lock = finished.read("dvc.lock")
    finished.write("params.yaml", "lr: 0.1\nkinds: [a]\n")
    assert "train@b" not in finished.run()
    finished.write("params.yaml", "lr: 0.1\nkinds: [b, a]\n")
    assert set(finished.run().values()) == {"up_to_date"}
    assert finished.runs() == []
    assert finished.read("dvc.lock") == lock


def test_one_pipeline_object_sees_what_was_edited_since_its_last_run(sandbox: Sandbox) -> None:
    pipeline = sandbox.pipeline()
    pipeline.run()
    assert {outcome.how for outcome in pipeline.run()} == {"up_to_date"}
    sandbox.write("params.yaml", "lr: 0.1\nkinds: [a, c]\n")
    how = {outcome.name: outcome.how for outcome in pipeline.run()}
    assert how["train@c"] == "ran"
    assert how["train@a"] == "up_to_date"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("prepare", ["data.dvc", "prepare"]),
        ("train", ["data.dvc", "prepare", "train@a", "train@b"]),
        ("train@b", ["data.dvc", "prepare", "train@b"]),
        ("data.dvc", ["data.dvc"]),
        ("dvc.yaml", ALL),
        ("dvc.yaml:report", ["data.dvc", "prepare", "train@a", "report"]),
    ],
)
def test_targets(sandbox: Sandbox, target: str, expected: list[str]) -> None:
    assert [status.name for status in sandbox.pipeline().status([target])] == expected


def test_status_says_what_would_happen_and_writes_nothing(finished: Sandbox) -> None:
    finished.write("params.yaml", "lr: 0.2\nkinds: [a, b, c]\n")
    (finished.root / "prepared.txt").unlink()
    before = {path: path.read_bytes() for path in finished.root.iterdir() if path.is_file()}
    status = {each.name: each for each in finished.pipeline().status()}
    assert before == {path: path.read_bytes() for path in finished.root.iterdir() if path.is_file()}

    assert status["data.dvc"].state == "up_to_date"
    assert (status["prepare"].state, status["prepare"].reasons) == ("will_restore", ("output prepared.txt deleted",))
    assert status["train@a"].state == "will_run"
    assert "params.yaml: lr modified" in status["train@a"].reasons
    assert (status["train@c"].state, status["train@c"].reasons) == ("will_run", ("never run",))
    assert (status["report"].state, status["report"].reasons) == ("waits", ("after train@a",))


def test_status_tells_a_parameter_seen_before_from_a_new_one(finished: Sandbox) -> None:
    def state() -> str:
        return next(stage.state for stage in finished.pipeline().status() if stage.name == "train@a")

    finished.write("params.yaml", "lr: 0.2\nkinds: [a, b]\n")
    assert state() == "will_run"
    finished.run()
    finished.write("params.yaml", "lr: 0.1\nkinds: [a, b]\n")
    assert state() == "will_restore"


def test_events_follow_each_stage_one_at_a_time(sandbox: Sandbox) -> None:
    events: list[Event] = []
    telling = threading.Lock()

    def on_event(event: Event) -> None:
        assert telling.acquire(blocking=False)
        events.append(event)
        telling.release()

    stage = {"cmd": ["echo one; echo two >&2", "echo three > talk"], "outs": ["talk"]}
    sandbox.stages(talk=stage, other=join("other", "talk"))
    sandbox.pipeline(on_event=on_event).run()
    assert states(events, "talk") == ["queued", "running", "done"]
    assert [event.line for event in events if event.line] == ["one", "two"]
    (sandbox.root / "other.txt").unlink()
    events.clear()
    sandbox.pipeline(on_event=on_event).run()
    assert states(events, "talk") == ["skipped"]
    assert states(events, "other") == ["queued", "running", "restored"]


def test_a_failure_lets_others_finish_and_names_what_was_not_run(empty: Sandbox) -> None:
    bad = "for i in $(seq 200); do test -e started && break; sleep 0.05; done; echo bad luck; exit 1"
    empty.stages(
        bad=failing(1, cmd=bad),
        after=join("after", "never.txt"),
        slow={"cmd": "touch started; sleep 0.5; echo > slow.txt", "outs": ["slow.txt"]},
        later=join("later", "slow.txt"),
    )
    with pytest.raises(RunFailed) as caught:
        empty.run()
    assert {outcome.name: outcome.how for outcome in caught.value.outcomes} == {
        "bad": "failed",
        "after": "not_run",
        "slow": "ran",
        "later": "not_run",
    }
    assert "stage bad failed with exit code 1" in str(caught.value)
    assert "bad luck" in str(caught.value)
    assert "after, later" in str(caught.value)
    failure = caught.value.failures["bad"]
    assert (failure.exit_code, failure.permanent, failure.tail) == (1, False, "bad luck")

    empty.stages(bad=failing(1, cmd="echo > never.txt"), slow=join("slow"))
    assert empty.run() == {"bad": "ran", "slow": "ran"}


def test_keep_going_runs_what_does_not_depend_on_the_failure(empty: Sandbox) -> None:
    empty.stages(bad=failing(3), after=join("after", "never.txt"), free=join("free"), later=join("later", "free.txt"))
    with pytest.raises(RunFailed) as caught:
        empty.run(keep_going=True, jobs=1)
    how = {outcome.name: outcome.how for outcome in caught.value.outcomes}
    assert how == {"bad": "failed", "after": "not_run", "free": "ran", "later": "ran"}


@pytest.mark.parametrize(
    ("command", "code", "permanent"), [("exit 2", 2, True), ("exit 1", 1, False), ("kill -9 $$", -9, False)]
)
def test_a_failure_says_whether_a_retry_is_pointless(empty: Sandbox, command: str, code: int, permanent: bool) -> None:
    empty.stages(bad={"cmd": command, "outs": ["x"]})
    with pytest.raises(RunFailed) as caught:
        empty.run()
    failure = caught.value.failures["bad"]
    assert (failure.exit_code, failure.permanent) == (code, permanent)


def test_a_missing_input_and_a_missing_output_fail_by_name(empty: Sandbox) -> None:
    empty.stages(no_input=join("x", "absent.txt"), no_output={"cmd": "true", "outs": ["promised.txt"]})
    with pytest.raises(RunFailed) as caught:
        empty.run(keep_going=True)
    assert "absent.txt" in str(caught.value.failures["no_input"])
    assert "promised.txt" in str(caught.value.failures["no_output"])
    assert all(failure.permanent for failure in caught.value.failures.values())


def test_a_stage_is_run_again_after_a_fault_that_may_pass(empty: Sandbox) -> None:
    """And then runs on the new input: what `dvc.lock` says of the old one is not taken for its result."""
    empty.write("source.txt", "old")
    command = "test -e works || { touch works; exit 75; }; cat source.txt > x"
    empty.stages(flaky={"cmd": command, "deps": ["source.txt"], "outs": ["x"]}, next=join("next", "x"))
    empty.write("works", "")
    empty.run()
    (empty.root / "works").unlink()
    empty.write("source.txt", "new")
    assert empty.run() == {"flaky": "ran", "next": "ran"}
    assert empty.read("next.txt") == "newnext.txt"
    assert empty.status() == {}


def test_a_job_carries_its_stage_s_upstream(empty: Sandbox) -> None:
    empty.stages(first=join("first"), second=join("second", "first.txt"))
    jobs: dict[str, Job] = {}

    def submit(job: Job) -> Future[Outcome]:
        jobs[job.name] = job
        assert job.upstream == () or (empty.root / "first.txt").exists()
        return pool.submit(job)

    with ThreadPoolExecutor(2) as pool:
        empty.run(submit=submit)
        assert jobs["second"].upstream == ("first",)
        assert set(empty.run(submit=submit).values()) == {"up_to_date"}
    assert len(jobs) == 2


def test_no_more_stages_at_once_than_jobs_whatever_runs_them(empty: Sandbox) -> None:
    count = "mkdir -p now; touch now/{0}; ls now | wc -l > {0}.txt; sleep 0.1; rm now/{0}"
    empty.stages(**{f"s{i}": {"cmd": count.format(i), "outs": [f"{i}.txt"]} for i in range(6)})
    with ThreadPoolExecutor(6) as pool:
        empty.run(jobs=2, submit=pool.submit)
    assert max(int(empty.read(f"{i}.txt")) for i in range(6)) == 2


def test_an_input_edited_while_its_stage_runs_is_not_recorded(empty: Sandbox) -> None:
    empty.write("source.txt", "old")
    command = "cat source.txt > x; test -e tried || { touch tried; echo new > source.txt; }"
    empty.stages(copy={"cmd": command, "deps": ["source.txt"], "outs": ["x"], "meta": {"retries": 0}})
    with pytest.raises(RunFailed, match=r"source\.txt changed while stage copy ran") as caught:
        empty.run()
    assert not caught.value.failures["copy"].permanent
    assert not (empty.root / "dvc.lock").exists()
    assert empty.run() == {"copy": "ran"}
    assert empty.read("x") == "new\n"


def test_an_unknown_target_is_answered_with_those_that_exist(sandbox: Sandbox) -> None:
    with pytest.raises(GraftError, match="no stage 'trian'") as caught:
        sandbox.run("trian")
    assert "prepare" in str(caught.value)


def test_no_dvc_project_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="no DVC repository here or above"):
        Pipeline(tmp_path).run()


def test_ready_stages_run_side_by_side(empty: Sandbox) -> None:
    wait = "touch {0}; for i in $(seq 200); do test -e {1} && break; sleep 0.05; done; test -e {1} && echo > {0}.txt"
    empty.stages(
        left={"cmd": wait.format("left", "right"), "outs": ["left.txt"]},
        right={"cmd": wait.format("right", "left"), "outs": ["right.txt"]},
    )
    assert empty.run(jobs=2) == {"left": "ran", "right": "ran"}


def test_a_project_knows_what_it_has_recorded_and_what_it_has_not(empty: Sandbox) -> None:
    empty.write("source.txt", "old")
    stage = {"deps": ["source.txt"], "outs": [{"kept": {"persist": True}}]}
    empty.stages(one={"cmd": "echo 1 >> kept", **stage})
    empty.run()
    empty.write("source.txt", "new")
    empty.stages(one={"cmd": "echo 2 >> kept", **stage})
    project = Project(empty.root)
    project.plan()

    claim = project.claim("one")
    assert isinstance(claim, Claim)
    project.release(claim)
    assert project.is_changed("one")

    claim = project.claim("one")
    assert isinstance(claim, Claim)
    project.record(claim)
    assert not project.is_changed("one")
    project.close()
