"""A server that others attach to: they do not meet, all ends with the owner, and who may not attach starts its own."""

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tasks.executor.processes.runner import Command, LocalRunner, Running
from tasks.executor.processes.shared_server import SOCKET, AttachedServer, OwnServer, shared_server
from tests.house.imports import ROOT
from tests.tasks.support.processes import alive, gone

LIGHT = ("json",)
FAMILY = "import os, subprocess; c = subprocess.Popen(['sleep', '60']); print(os.getpid(), c.pid, flush=True); c.wait()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "probe.py").write_text("import os; print(os.getppid()); open('ran', 'w')")
    (tmp_path / "family.py").write_text(FAMILY)
    return tmp_path


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv(SOCKET, raising=False)
    with shared_server(LIGHT):
        yield os.environ[SOCKET]


class Said(list[str]):
    """The lines of a command, and when the first has come."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def __call__(self, line: str) -> None:
        self.append(line)
        self.begun.set()


def start(runner: LocalRunner, folder: Path, module: str, said: Said, keep: tuple[int, ...] = ()) -> Running:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return runner.start(Command(f"python -m {module}", ("false",), folder, environment, keep=keep), said)


def follow(running: Running, said: Said) -> threading.Thread:
    """Wait for it in the background, once it has said something."""
    thread = threading.Thread(target=running.wait)
    thread.start()
    assert said.begun.wait(30)
    return thread


def pids(said: Said) -> list[int]:
    return [int(word) for word in said[0].split()]


OWNER = """
    import os, sys, time
    from tasks.executor.processes.shared_server import SOCKET, shared_server
    with shared_server((sys.argv[1],)):
        print(os.environ[SOCKET], flush=True)
        sys.stdin.read()
"""


def owner(folder: Path, library: str = "json") -> "subprocess.Popen[str]":
    """A process that offers a server until its input ends; it says where."""
    (folder / "owner.py").write_text(textwrap.dedent(OWNER))
    environment = {name: value for name, value in os.environ.items() if name != SOCKET}
    command = [sys.executable, "owner.py", library]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def socket_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_those_who_attach_do_not_meet(folder: Path, shared: str) -> None:
    first, second = LocalRunner(LIGHT, shared), LocalRunner(LIGHT, shared)
    one, other = Said(), Said()
    waiting = [follow(start(first, folder, "family", one), one), follow(start(second, folder, "family", other), other)]
    parents = {psutil.Process(pids(said)[0]).ppid() for said in (one, other)}
    assert len(parents) == 2
    assert len({psutil.Process(parent).ppid() for parent in parents}) == 1, "both were forked from the shared one"
    first.close()
    assert not any(alive(pid) for pid in pids(one))
    assert all(alive(pid) for pid in pids(other))
    second.close()
    for thread in waiting:
        thread.join()


def test_it_serves_again_after_one_who_attached_was_killed(folder: Path, shared: str) -> None:
    program = f"""
        from pathlib import Path
        import os
        from tasks.executor.processes.runner import Command, LocalRunner
        command = Command("python -m family", ("false",), Path.cwd(), dict(os.environ))
        LocalRunner({LIGHT}, {shared!r}).start(command, lambda line: print(line, flush=True)).wait()
    """
    (folder / "caller.py").write_text(textwrap.dedent(program))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
    command = [sys.executable, "caller.py"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        started = [int(word) for word in caller.stdout.readline().split()]
        caller.kill()
        assert gone(started)
    runner = LocalRunner(LIGHT, shared)
    assert start(runner, folder, "probe", Said()).wait() == 0
    assert isinstance(runner._servers[True], AttachedServer)
    runner.close()


@pytest.mark.parametrize("end", ["by itself", "killed"])
def test_all_ends_with_the_owner(folder: Path, end: str) -> None:
    with owner(folder) as process:
        path, said = socket_of(process), Said()
        runner = LocalRunner(LIGHT, path)
        waiting = follow(start(runner, folder, "family", said), said)
        server = psutil.Process(pids(said)[0]).ppid()
        everybody = [*pids(said), server, psutil.Process(server).ppid()]
        if end == "killed":
            process.kill()
            assert gone(everybody)
        else:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait() == 0
            assert not [pid for pid in everybody if alive(pid)], "not even for a moment"
            assert not Path(path).parent.exists()
    assert not Path(path).exists()
    waiting.join()
    assert start(runner, folder, "probe", Said()).wait() == 0, "it goes on with a server of its own"
    runner.close()


def test_a_command_whose_shared_server_is_lost_is_reported_as_killed(folder: Path) -> None:
    with owner(folder) as process:
        runner, said = LocalRunner(LIGHT, socket_of(process)), Said()
        running = start(runner, folder, "family", said)
        threading.Thread(target=lambda: (said.begun.wait(30), process.kill())).start()
        assert running.wait() == -signal.SIGKILL
        assert gone(pids(said))
        runner.close()


def test_a_lock_that_is_passed_on_is_held_as_long_as_the_command_runs(folder: Path, shared: str) -> None:
    runner, said = LocalRunner(LIGHT, shared), Said()
    with (folder / "lease").open("w") as lease, (folder / "lease").open("w") as another:
        fcntl.flock(lease, fcntl.LOCK_EX)
        running = start(runner, folder, "family", said, keep=(lease.fileno(),))
        waiting = follow(running, said)
        lease.close()
        with pytest.raises(BlockingIOError):
            fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
        running.kill()
        waiting.join()
        assert gone(pids(said))
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
    runner.close()


@pytest.mark.parametrize("difference", ["libraries", "a variable that libraries read", "a limit", "nobody there"])
def test_who_cannot_attach_starts_a_server_of_its_own(
    folder: Path, shared: str, monkeypatch: pytest.MonkeyPatch, difference: str
) -> None:
    libraries = ("json", "csv") if difference == "libraries" else LIGHT
    if difference == "a variable that libraries read":
        monkeypatch.setenv("OMP_WAIT_POLICY", "another")
    if difference == "a limit":
        monkeypatch.setattr("resource.getrlimit", lambda _: (1, 1))
    if difference == "nobody there":
        shared = str(folder / "absent")
    runner, said = LocalRunner(libraries, shared), Said()
    for _ in range(2):
        assert start(runner, folder, "probe", said).wait() == 0
    server = runner._servers[True]
    assert isinstance(server, OwnServer)
    assert said == [str(server._process.pid)] * 2
    runner.close()


def test_what_was_asked_for_and_ended_during_the_imports_never_begins(folder: Path) -> None:
    """The import waits here for settings that come only when the test lets them."""
    os.mkfifo(folder / "settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATPLOTLIBRC", str(folder / "settings"))
        patch.delenv(SOCKET, raising=False)
        with shared_server(("matplotlib",)):
            impatient = LocalRunner(("matplotlib",), os.environ[SOCKET])
            running = start(impatient, folder, "probe", Said())
            running.kill()
            assert running.wait() == -signal.SIGKILL, "it does not wait for the libraries"
            patient, said = LocalRunner(("matplotlib",), os.environ[SOCKET]), Said()
            (folder / "other.py").write_text("import os; print('ran' in os.listdir())")
            running = start(patient, folder, "other", said)
            threading.Thread(target=(folder / "settings").write_text, args=("",)).start()
            assert running.wait() == 0
            assert said == ["False"]
            assert isinstance(patient._servers[True], AttachedServer)
            impatient.close()
            patient.close()


@pytest.mark.parametrize("end", ["by itself", "killed"])
def test_an_owner_that_ends_during_the_imports_leaves_nothing(folder: Path, end: str) -> None:
    os.mkfifo(folder / "settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATPLOTLIBRC", str(folder / "settings"))
        with owner(folder, "matplotlib") as process:
            path = socket_of(process)
            (server,) = psutil.Process(process.pid).children()
            assert process.stdin is not None
            process.kill() if end == "killed" else process.stdin.close()
            assert gone([process.pid, server.pid])
            assert not Path(path).exists()


def test_one_that_is_offered_already_serves(shared: str) -> None:
    with shared_server(LIGHT):
        assert os.environ[SOCKET] == shared
    assert os.environ[SOCKET] == shared


def test_without_a_socket_each_starts_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SOCKET, raising=False)
    long = folder / ("x" * 200)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with shared_server(LIGHT):
        assert not os.environ[SOCKET]
    assert list(long.iterdir()) == []
