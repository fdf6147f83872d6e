"""GPUs are handed to one stage at a time, or in shares, and are free when the stage's processes have ended.

There need be no GPU for that: what is handed out are names, and locks that the system keeps.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.common.errors import GraftError
from tasks.executor.execute import Event
from tasks.executor.resources.gpu_leases import lease
from tasks.executor.resources.gpus import Device, Devices, find_devices
from tests.house.imports import ROOT
from tests.tasks.support.dvc_sandbox import Sandbox

ZERO, ONE = Device("cuda:0", "GPU-aaa"), Device("cuda:1", "GPU-bbb")
OVERLAP = (
    "mkdir -p now; touch now/{0}; for i in $(seq 400); do test -e full && break; "
    "test $(ls now | wc -l) -ge {1} && touch full; sleep 0.05; done; sleep 0.1; ls now | wc -l > {0}.txt; rm now/{0}"
)
"""Waits until so many stages with such a command run at once, and writes how many do a moment later."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="leases are kept by Linux, as CUDA is used there")


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    return tmp_path / "leases"


def test_each_stage_has_a_device_of_its_own_and_sees_no_other(empty: Sandbox, leases: Path) -> None:
    show = "echo $CUDA_VISIBLE_DEVICES $GRAFT_DEVICE > {0}.txt; sleep 0.3"
    empty.stages(
        **{name: {"cmd": show.format(name), "outs": [f"{name}.txt"]} for name in "abcd"},
        none={"cmd": show.format("none"), "outs": ["none.txt"], "meta": {"device": "cpu"}},
    )
    seen: list[Event] = []
    empty.pipeline(4, seen.append, devices=Devices((ZERO, ONE), hide=True), leases=leases).run()
    said = sorted(empty.read(f"{name}.txt").strip() for name in "abcd")
    assert said == ["GPU-aaa cuda:0"] * 2 + ["GPU-bbb cuda:1"] * 2
    assert empty.read("none.txt").strip() == "cpu"
    assert {event.note for event in seen if event.state == "running" and not event.line} == {
        "on cuda:0, 1 thread",
        "on cuda:1, 1 thread",
        "on cpu, 1 thread",
    }


@pytest.mark.parametrize(("share", "at_once"), [(1, 1), (0.5, 2), (0.3, 3)])
def test_a_device_is_shared_as_far_as_stages_allow(empty: Sandbox, leases: Path, share: float, at_once: int) -> None:
    meta = {"device": share}
    empty.stages(**{f"s{i}": {"cmd": OVERLAP.format(i, at_once), "outs": [f"{i}.txt"], "meta": meta} for i in range(4)})
    empty.pipeline(4, devices=Devices((ZERO,), hide=True), leases=leases).run()
    assert max(int(empty.read(f"{i}.txt")) for i in range(4)) == at_once


def test_stages_without_a_gpu_go_on_while_others_wait_for_one(empty: Sandbox, leases: Path) -> None:
    taken = lease([ZERO], 1.0, leases)
    assert taken is not None
    gpu = {"cmd": "test -e cpu.txt && touch gpu.txt", "outs": ["gpu.txt"]}
    empty.stages(gpu=gpu, cpu={"cmd": "touch cpu.txt", "outs": ["cpu.txt"], "meta": {"device": "cpu"}})

    def free_it(event: Event) -> None:
        if (event.stage, event.state) == ("cpu", "done"):
            taken.end()

    outcomes = empty.pipeline(2, free_it, devices=Devices((ZERO,), hide=True), leases=leases).run()
    assert [outcome.how for outcome in outcomes] == ["ran", "ran"]


def test_cores_are_divided_among_stages_that_ask_for_several(empty: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.executor.pipeline.cores", lambda: 4)
    wide = {"threads": 2}
    empty.stages(**{f"s{i}": {"cmd": OVERLAP.format(i, 2), "outs": [f"{i}.txt"], "meta": wide} for i in range(5)})
    empty.run(jobs=4)
    assert max(int(empty.read(f"{i}.txt")) for i in range(5)) == 2


def test_a_lease_ends_with_the_last_process_that_holds_it(empty: Sandbox, leases: Path) -> None:
    """The run and its stage are killed: a process that the stage has put aside still computes, and keeps the device."""
    empty.stages(long={"cmd": "setsid sleep 60 & echo $! > daemon; echo $$ > main; touch up; sleep 60", "outs": ["x"]})
    program = (
        "import sys; from pathlib import Path; from tasks.executor.pipeline import Pipeline\n"
        "from tasks.executor.resources.gpus import Device, Devices\n"
        "Pipeline(Path(sys.argv[1]), devices=Devices((Device('cuda:0', 'GPU-aaa'),)), leases=Path(sys.argv[2])).run()"
    )
    run = subprocess.Popen([sys.executable, "-c", program, str(empty.root), str(leases)], cwd=ROOT)
    while not (empty.root / "up").exists():
        assert run.poll() is None
        time.sleep(0.05)
    assert lease([ZERO], 0.1, leases) is None, "another run on this machine gets nothing of it"
    run.kill()
    run.wait()
    time.sleep(0.5)
    assert lease([ZERO], 0.1, leases) is None
    os.kill(int(empty.read("daemon")), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while (free := lease([ZERO], 1.0, leases)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    free.end()


def test_shares_add_up_to_one_device(leases: Path) -> None:
    held = [lease([ZERO], 0.3, leases) for _ in range(4)]
    assert [one is not None for one in held] == [True, True, True, False]
    assert lease([ZERO], 1.0, leases) is None
    spare = lease([ZERO, ONE], 1.0, leases)
    assert spare is not None
    assert spare.device == ONE
    for one in [*held, spare]:
        if one:
            one.end()
    whole = lease([ZERO], 1.0, leases)
    assert whole is not None
    whole.end()


@pytest.fixture
def _driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three GPUs, as far as `nvidia-smi` tells."""
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nprintf '0, GPU-aaa\\n1, GPU-bbb\\n2, GPU-ccc\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("_driver")
@pytest.mark.parametrize(
    ("asked", "visible", "names"),
    [
        ("auto", None, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda", None, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda:2,0", None, ["cuda:2", "cuda:0"]),
        ("cuda:1,cuda:2,1", None, ["cuda:1", "cuda:2"]),
        ("auto", "1,GPU-ccc", ["cuda:1", "cuda:2"]),
        ("auto", "", []),
        ("cpu", None, []),
    ],
)
def test_devices_are_chosen_by_name_among_those_that_are_visible(
    asked: str, visible: str | None, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in find_devices(asked).gpus] == names


@pytest.mark.usefixtures("_driver")
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("cuda:7,1", "there is no cuda:7: here are cuda:0, cuda:1, cuda:2"),
        ("gpu", "'gpu' is no device; valid: auto, cpu, cuda, or cuda:0,1"),
        ("cuda:", "'cuda:' is no device"),
    ],
)
def test_what_is_no_device_is_refused(asked: str, said: str) -> None:
    with pytest.raises(GraftError, match=said):
        find_devices(asked)


def test_a_machine_without_gpus_uses_its_cpu_unless_a_gpu_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_devices("auto") == Devices()
    with pytest.raises(GraftError, match="no GPU was found here"):
        find_devices("cuda")
