"""What is damaged, killed or stopped: the executor takes nothing half-made for whole, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from dvc.repo import Repo

from tasks.common.errors import PASSING_FAULT, GraftError
from tasks.executor.dvc.dvc_project import Claim, Project, TransientError
from tasks.executor.execute import Event, Outcome
from tasks.executor.schedule import RunFailed
from tests.tasks.support.dvc_sandbox import Sandbox, failing, join
from tests.tasks.support.processes import gone

REPOSITORY = Path(__file__).parents[3]
PARENT = """
import sys
from pathlib import Path
from tasks.executor.pipeline import Pipeline
Pipeline(Path(sys.argv[1]), on_event=lambda event: event.line and print(event.line, flush=True)).run()
"""


@pytest.mark.parametrize("text", ["", "hello", "stages: ["])
def test_a_damaged_lock_file_is_named_with_what_mends_it(empty: Sandbox, text: str) -> None:
    empty.stages(one={"cmd": "true"})
    empty.write("dvc.lock", text)
    with pytest.raises(GraftError, match=r"dvc\.lock[\s\S]*git checkout dvc\.lock"):
        empty.run()


@pytest.mark.parametrize("output", ["whole.txt", "folder"])
def test_a_damaged_cache_entry_is_never_used_and_mended_by_running_the_stage(
    empty: Sandbox, output: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = output if output == "whole.txt" else "folder/a"
    make = f"mkdir -p folder; echo b > folder/b; cat in.txt > {made}"
    empty.stages(one={"cmd": f"{make}; echo one >> runs.log", "deps": ["in.txt"], "outs": [output]})
    empty.write("in.txt", "first")
    empty.run()
    empty.write("in.txt", "second")
    empty.run()
    assert len(empty.runs()) == 2
    files = [path for path in (empty.root / ".dvc/cache/files").rglob("*") if path.is_file()]
    (cached,) = [path for path in files if path.read_bytes() == b"first"]
    cached.chmod(0o644)
    cached.write_bytes(b"fi\0st")
    cached.chmod(0o444)
    empty.write("in.txt", "first")
    assert empty.run() == {"one": "ran"}
    assert "DVC's cache held damaged files" in caplog.text
    assert (empty.read(made), empty.runs()) == ("first", ["one"])
    assert empty.status() == {}
    empty.write("in.txt", "second")
    assert empty.run() == {"one": "restored"}
    empty.write("in.txt", "first")
    assert empty.run() == {"one": "restored"}, "and the entry is whole again"


@pytest.mark.parametrize("left", ["an empty folder", "half an entry"])
def test_what_a_kill_left_in_the_run_cache_is_no_result_and_goes(finished: Sandbox, left: str) -> None:
    """Killed as it made the folder of an entry, or as it wrote the entry under another name."""
    runs = finished.root / ".dvc/cache/runs"
    entries = [path for path in runs.rglob("*") if path.is_file()]
    for path in entries:
        half = path.with_name(".abc.tmp")
        path.rename(half)
        half.write_text(half.read_text().partition("outs:")[0] + "outs: []\n")
        for each in (half, half.parent):
            os.utime(each, (1, 1))
        if left == "an empty folder":
            half.unlink()
            os.utime(half.parent, (1, 1))
    (finished.root / "dvc.lock").unlink()
    assert set(finished.run().values()) <= {"ran", "committed", "up_to_date"}
    assert not list(runs.rglob("*.tmp"))
    assert len([path for path in runs.rglob("*") if path.is_file()]) == len(entries)
    finished.stock()
    assert finished.status() == {}


def test_stop_ends_what_runs_and_starts_nothing_more(empty: Sandbox) -> None:
    started = threading.Event()

    def on_event(event: Event) -> None:
        if event.line:
            started.set()

    empty.stages(long={"cmd": "echo $$ > pid; echo up; sleep 60; sleep 60", "outs": ["x"]}, next=join("y", "x"))
    pipeline = empty.pipeline(on_event=on_event)
    threading.Thread(target=lambda: started.wait(30) and pipeline.stop()).start()
    with pytest.raises(RunFailed, match="stopped") as caught:
        pipeline.run()
    assert [outcome.how for outcome in caught.value.outcomes] == ["not_run", "not_run"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(empty.read("pid")), 0)
    assert rwlock_is_free(empty)
    with pytest.raises(RunFailed, match="stopped"):
        pipeline.run()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_leaves_no_process_and_the_next_run_succeeds(empty: Sandbox, end: signal.Signals) -> None:
    empty.stages(
        done=join("done"),
        long={
            "cmd": "cat done.txt > x; test -e go || { echo $$; sleep 60; sleep 60; }",
            "deps": ["done.txt"],
            "outs": ["x"],
        },
    )
    command = [sys.executable, "-c", PARENT, str(empty.root)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(end)
        assert parent.wait(20) != 0
    assert gone([pid])
    empty.write("go", "")
    assert empty.run() == {"done": "up_to_date", "long": "ran"}
    assert end == signal.SIGKILL or rwlock_is_free(empty)  # what a dead process claimed is ignored, by stock too


def rwlock_is_free(sandbox: Sandbox) -> bool:
    return str(sandbox.root) not in sandbox.read(".dvc/tmp/rwlock")


def test_claims_are_given_back_after_success_and_failure(empty: Sandbox) -> None:
    empty.stages(good=join("good", "join.py"), bad=failing(1))
    with pytest.raises(RunFailed):
        empty.run()
    assert rwlock_is_free(empty)


def test_claims_are_given_back_if_how_the_stage_was_run_cannot_be_noted(empty: Sandbox) -> None:
    empty.stages(good=join("good", "join.py"))
    empty.write(".dvc/tmp/graft-ran", "a file where a folder should be")
    with pytest.raises(RunFailed):
        empty.run()
    assert rwlock_is_free(empty)


@pytest.mark.parametrize("ended", ["record", "release"])
def test_claims_are_given_back_even_if_dvc_s_lock_cannot_be_had(empty: Sandbox, ended: str) -> None:
    """Else the process hangs when it ends: DVC waits for a thread then that cannot start any more."""
    empty.stages(one={"cmd": "echo > one", "outs": ["one"]})
    project = Project(empty.root)
    project.plan()
    claim = project.claim("one")
    assert isinstance(claim, Claim)
    assert not rwlock_is_free(empty)
    with Repo(str(empty.root)) as another:
        another.lock.lock()
        project.give_up()
        with pytest.raises(TransientError):
            getattr(project, ended)(claim)
        another.lock.unlock()
    assert rwlock_is_free(empty)
    project.close()


def test_ctrl_c_while_a_job_is_handed_over_waits_for_nothing_that_will_not_come(empty: Sandbox) -> None:
    class Interrupted(Future[Outcome]):
        def add_done_callback(self, fn: object) -> None:
            raise KeyboardInterrupt

    ended: list[BaseException] = []

    def run() -> None:
        try:
            empty.run(submit=lambda _: Interrupted())
        except BaseException as error:
            ended.append(error)

    empty.stages(one=join("one"))
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert [type(error) for error in ended] == [KeyboardInterrupt]


def test_a_dvc_command_beside_a_running_stage_says_what_it_meets(empty: Sandbox) -> None:
    empty.stages(
        long={"cmd": "echo up; for i in $(seq 200); do test -e go && break; sleep 0.05; done; echo > x", "outs": ["x"]}
    )
    met: list[str] = []

    def meddle() -> None:
        started.wait(30)
        try:
            empty.stock()
        except Exception as error:
            met.append(str(error.__cause__))
        empty.write("go", "")

    started = threading.Event()
    thread = threading.Thread(target=meddle)
    thread.start()
    empty.pipeline(on_event=lambda event: started.set() if event.line else None).run()
    thread.join()
    assert len(met) == 1
    assert "is busy" in met[0]
    assert "(stage long)" in met[0]


def test_a_run_beside_a_dvc_command_that_runs_a_stage_says_who_it_is_and_may_be_tried_again(empty: Sandbox) -> None:
    empty.stages(long={"cmd": "echo > x; until test -e go; do sleep 0.05; done", "outs": ["x"]})
    with subprocess.Popen([sys.executable, "-m", "dvc", "repro"], cwd=empty.root, stdout=subprocess.DEVNULL) as stock:
        while not (empty.root / "x").exists():
            assert stock.poll() is None
            time.sleep(0.02)
        with pytest.raises(RunFailed, match=rf"x' is busy, it is being blocked by: \(PID {stock.pid}\)") as caught:
            empty.run()
        assert caught.value.ends_with == PASSING_FAULT
        assert "remove" not in str(caught.value)
        (found,) = empty.pipeline().status()
        assert (found.state, str(stock.pid) in found.reasons[0]) == ("running", True)
        empty.write("go", "")
    assert empty.run() == {"long": "up_to_date"}


def test_a_note_of_claims_that_was_left_half_written_stops_nobody(empty: Sandbox) -> None:
    empty.stages(one=join("one"))
    empty.write(".dvc/tmp/rwlock", '{"read": {"data": [{"pid": 1, "c')
    assert empty.run() == {"one": "ran"}
    empty.write(".dvc/tmp/rwlock", "")
    assert empty.run() == {"one": "up_to_date"}
    assert empty.status() == {}, "stock can read it again"


def test_the_run_waits_while_another_dvc_process_holds_the_lock(empty: Sandbox) -> None:
    empty.stages(one=join("one"))
    with Repo(str(empty.root)) as repo:
        repo.lock.lock()
        timer = threading.Timer(4, repo.lock.unlock)  # longer than a dvc command waits
        timer.start()
        assert empty.run() == {"one": "ran"}


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("dvc.yaml", "stages:\n  a:\n    cmd: echo 'x\n    outs: [a\n", ["dvc.yaml", "line 5"]),
        ("dvc.yaml", "stages:\n  a: {cmd: x, out: [y]}\n  b: {wdir: x}\n", ["stages.a.out", "stages.b.cmd"]),
        ("dvc.yaml", "stages:\n  a: {cmd: 'echo ${nothing}'}\n", ["dvc.yaml", "nothing"]),
        ("dvc.yaml", "stages:\n  a: {cmd: x, meta: {threads: two}}\n", ["stage a", "meta.threads", "'two'"]),
        ("dvc.lock", "schema: '2.0'\nstages:\n  prepare:\n    cm", ["dvc.lock"]),
        (
            "dvc.lock",
            "schema: '2.0'\nstages:\n  prepare:\n    cmd: x\n    deps:\n    - path: data\n      md5: 123\n",
            ["dvc.lock"],
        ),
        ("params.yaml", "kinds: [a", ["params.yaml", "line 2"]),
    ],
)
def test_a_broken_file_is_named_with_the_reason(sandbox: Sandbox, file: str, text: str, words: list[str]) -> None:
    sandbox.write(file, text)
    with pytest.raises(GraftError) as caught:
        sandbox.run()
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_value_that_makes_no_matrix_is_not_blamed_on_the_lock(sandbox: Sandbox) -> None:
    sandbox.write("params.yaml", "kinds: 5\n")
    sandbox.stages(one={"matrix": {"kind": "${kinds}"}, "cmd": "echo ${item.kind}"})
    with pytest.raises(GraftError, match=r"^dvc\.yaml cannot be filled in with what params\.yaml holds") as caught:
        sandbox.run()
    assert "git checkout" not in str(caught.value)
