"""A warm child is a fresh interpreter in all but its start; every command ends with the one who asked for it."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.executor.processes.runner import Command, LocalRunner, Running, python_module, stage_environment
from tasks.executor.processes.shared_server import SOCKET, AttachedServer, shared_server
from tasks.executor.processes.warm_client import Lines
from tests.tasks.support.processes import alive, gone

PYTHON = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[4]


LIBRARIES = ("torch", "no_such_library")


@pytest.fixture(scope="module")
def own() -> Iterator[LocalRunner]:
    runner = LocalRunner(LIBRARIES)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    """The socket of a server that others may attach to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(SOCKET, raising=False)
        with shared_server(LIBRARIES):
            yield os.environ[SOCKET]


@pytest.fixture(params=["own", "shared"])
def warm(request: pytest.FixtureRequest) -> Iterator[LocalRunner]:
    """With a server of its own, and attached to another's: nobody can tell the difference."""
    if request.param == "own":
        yield request.getfixturevalue("own")
        return
    runner = LocalRunner(LIBRARIES, attach_to=request.getfixturevalue("shared"))
    runner.warm_up()
    assert isinstance(runner._servers[True], AttachedServer)
    yield runner
    assert isinstance(runner._servers[True], AttachedServer), "it was not refused"
    runner.close()


@pytest.fixture
def cold() -> Iterator[LocalRunner]:
    runner = LocalRunner(preload=())
    yield runner
    runner.close()


def start(
    runner: LocalRunner, line: str, folder: Path, lines: list[str], threads: int = 1, **variables: str
) -> Running:
    environment = {**os.environ, "PATH": f"{PYTHON}{os.pathsep}{os.environ['PATH']}", **variables}
    return runner.start(Command(line, ("/bin/sh", "-c", line), folder, environment, threads), lines.append)


def run(runner: LocalRunner, line: str, folder: Path, **options: Any) -> tuple[int, list[str]]:
    lines: list[str] = []
    return start(runner, line, folder, lines, **options).wait(), lines


def module(folder: Path, text: str, name: str = "probe") -> None:
    (folder / f"{name}.py").write_text(textwrap.dedent(text))


SURROUNDINGS = """
    import __main__, os, sys
    print(__name__, __spec__.name, __main__.__spec__.name, sys.modules["__main__"] is __main__)
    print(sys.argv, os.getcwd(), os.path.samefile(sys.path[0], os.getcwd()), [p for p in sys.path if "extra" in p])
    print(os.environ["VARIABLE"], "REMOVED" in os.environ, "OMP_NUM_THREADS" in os.environ, sys.stdin.read() == "")
    print([name for name in sys.modules if name.split(".")[0] in ("tasks", "graft", "flows", "warm_server")])
    print(sys.stdout.isatty(), sys.flags.interactive)
"""


def test_a_warm_child_sees_what_a_fresh_interpreter_sees(tmp_path: Path, warm: LocalRunner, cold: LocalRunner) -> None:
    module(tmp_path, SURROUNDINGS)
    (tmp_path / "extra").mkdir()
    line, variables = "python -m probe --name 'two words' x=1", {"VARIABLE": "value", "PYTHONPATH": "extra"}
    ours, fresh = run(warm, line, tmp_path, **variables), run(cold, line, tmp_path, **variables)
    assert ours == fresh
    assert ours[0] == 0
    assert ours[1][0] == "__main__ probe probe True"
    assert "'--name', 'two words', 'x=1'" in ours[1][1]


def test_it_is_forked_from_the_libraries_and_not_from_the_project(tmp_path: Path, warm: LocalRunner) -> None:
    module(tmp_path, "import helper, sys; print('torch' in sys.modules, helper.VALUE)")
    module(tmp_path, "VALUE = 1", "helper")
    assert run(warm, "python -m probe", tmp_path) == (0, ["True 1"])
    module(tmp_path, "VALUE = 'edited'", "helper")
    assert run(warm, "python3 -m probe", tmp_path) == (0, ["True edited"])


@pytest.mark.parametrize(
    ("program", "code", "last"),
    [
        ("import sys; sys.exit(3)", 3, None),
        ("import sys; sys.exit()", 0, None),
        ("import sys; sys.exit('no such class')", 1, "no such class"),
        ("def f(): raise ValueError('bad value')\nf()", 1, "ValueError: bad value"),
        ("import os; os._exit(7)", 7, None),
        ("print('no newline', end='')", 0, "no newline"),
        ("import atexit; atexit.register(print, 'at exit')", 0, "at exit"),
        (
            "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()",
            0,
            "thread",
        ),
    ],
)
def test_ends_are_those_of_an_interpreter(
    tmp_path: Path, warm: LocalRunner, cold: LocalRunner, program: str, code: int, last: str | None
) -> None:
    module(tmp_path, program)
    for runner in (warm, cold):
        result, lines = run(runner, "python -m probe", tmp_path)
        assert (result, lines[-1] if lines else None) == (code, last)


def test_a_child_that_is_killed_says_by_which_signal(tmp_path: Path, warm: LocalRunner) -> None:
    module(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert run(warm, "python -m probe", tmp_path)[0] == -signal.SIGKILL


def test_a_traceback_starts_in_the_program(tmp_path: Path, warm: LocalRunner) -> None:
    module(tmp_path, "1 / 0")
    _, lines = run(warm, "python -m probe", tmp_path)
    assert "ZeroDivisionError" in lines[-1]
    assert not [line for line in lines if "warm_server" in line]


def test_a_file_left_open_is_written_as_at_the_end_of_an_interpreter(tmp_path: Path, warm: LocalRunner) -> None:
    module(tmp_path, "import helper; left = open('left', 'w'); left.write('x' * 10)")
    module(tmp_path, "other = open('other', 'wb'); other.write(b'y')", "helper")
    assert run(warm, "python -m probe", tmp_path)[0] == 0
    assert ((tmp_path / "left").read_text(), (tmp_path / "other").read_text()) == ("x" * 10, "y")


def test_a_package_with_a_main_module_and_a_missing_module(tmp_path: Path, warm: LocalRunner) -> None:
    (tmp_path / "package").mkdir()
    module(tmp_path / "package", "from package import *; print(__package__)", "__main__")
    assert run(warm, "python -m package", tmp_path) == (0, ["package"])
    code, lines = run(warm, "python -m absent", tmp_path)
    assert (code, lines[-1]) == (1, "ImportError: No module named absent")


def test_threads_are_as_asked_for(tmp_path: Path, warm: LocalRunner) -> None:
    module(tmp_path, "import os, torch; print(torch.get_num_threads(), os.environ['OMP_NUM_THREADS'])")
    assert run(warm, "python -m probe", tmp_path)[1] == ["1 1"]
    assert run(warm, "python -m probe", tmp_path, threads=2)[1] == ["2 2"]
    assert run(warm, "echo $OMP_NUM_THREADS", tmp_path, threads=3)[1] == ["3"]


def test_torch_computes_in_a_child_with_several_threads(tmp_path: Path, warm: LocalRunner) -> None:
    module(tmp_path, "import torch; a = torch.ones(300, 300); print((a @ a).sum().item())")
    assert run(warm, "python -m probe", tmp_path, threads=2) == (0, [str(300.0**3)])


def test_any_other_command_is_run_by_the_shell(tmp_path: Path, warm: LocalRunner) -> None:
    code, lines = run(warm, "echo $VARIABLE | tr a-z A-Z; echo error >&2; pwd; exit 4", tmp_path, VARIABLE="value")
    assert (code, lines[:2]) == (4, ["VALUE", "error"])
    assert Path(lines[2]).samefile(tmp_path)
    module(tmp_path, "import sys; print('torch' in sys.modules)")
    assert run(warm, "python probe.py", tmp_path) == (0, ["False"])
    assert run(warm, "no-such-command", tmp_path)[0] == 127
    assert run(warm, "yes | head -n 1", tmp_path) == (0, ["y"])  # and no complaint of a broken pipe


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("python -m tasks.prepare", ["tasks.prepare"]),
        (
            "python3 -m tasks.finetune --strategy 'fine tune' --seed 0",
            ["tasks.finetune", "--strategy", "fine tune", "--seed", "0"],
        ),
        (f"{sys.executable} -m a.b x=1", ["a.b", "x=1"]),
        ("  python   -m   a  ", ["a"]),
        ("python script.py", None),
        ("python -m", None),
        ("python -m -c x", None),
        ("python -u -m a", None),
        ("VARIABLE=1 python -m a", None),
        ("python -m a > file", None),
        ("python -m a && python -m b", None),
        ("python -m a $HOME", None),
        ("python -m a *.txt", None),
        ("python -m a 'open", None),
        ("/usr/bin/env python -m a", None),
        ("/nowhere/python -m a", None),
        ("pythonish -m a", None),
        ("", None),
    ],
)
def test_what_is_recognised_as_a_module_run_by_this_python(line: str, words: list[str] | None) -> None:
    assert python_module(line, f"{PYTHON}{os.pathsep}/usr/bin") == words


def test_python_is_this_environment_s_as_if_it_were_activated(tmp_path: Path) -> None:
    if sys.prefix == sys.base_prefix:
        pytest.skip("not in a virtual environment")
    bare = stage_environment({"PATH": "/usr/bin"}, 1)
    assert bare["PATH"] == f"{PYTHON}{os.pathsep}/usr/bin"
    activated = {"PATH": f"/elsewhere{os.pathsep}{PYTHON}"}
    assert stage_environment(activated, 1)["PATH"] == activated["PATH"]


def test_lines_are_passed_on_as_they_come_and_progress_bars_once(tmp_path: Path, warm: LocalRunner) -> None:
    module(tmp_path, "print('now'); import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)")

    def on_line(line: str) -> None:
        (tmp_path / "go").touch()

    environment = {**os.environ, "PATH": f"{PYTHON}{os.pathsep}{os.environ['PATH']}"}
    assert warm.start(Command("python -m probe", ("false",), tmp_path, environment), on_line).wait() == 0

    seen: list[str] = []
    lines = Lines(seen.append)
    for chunk in (b"a\r\nb", b" 1%\rb 2%\r", b"b 3%\nc\xc3", b"\xa9\xff"):
        lines.feed(chunk)
    lines.end()
    assert seen == ["a", "b 3%", "cé\N{REPLACEMENT CHARACTER}"]


FAMILY = "import os, subprocess; c = subprocess.Popen(['sleep', '60']); print(os.getpid(), c.pid, flush=True); c.wait()"


@pytest.mark.parametrize("line", ["python -m family", "python family.py", "sh -c 'python -m family; true'; true"])
def test_kill_ends_a_command_with_all_that_it_started(tmp_path: Path, warm: LocalRunner, line: str) -> None:
    module(tmp_path, FAMILY, "family")
    pids: list[int] = []
    ready = threading.Event()

    def on_line(text: str) -> None:
        pids.extend(map(int, text.split()))
        ready.set()

    environment = {**os.environ, "PATH": f"{PYTHON}{os.pathsep}{os.environ['PATH']}"}
    running = warm.start(Command(line, ("/bin/sh", "-c", line), tmp_path, environment), on_line)
    threading.Thread(target=lambda: (ready.wait(30), running.kill())).start()
    assert running.wait() == -signal.SIGTERM
    assert gone(pids)


def test_a_command_that_ignores_the_request_to_end_is_killed(tmp_path: Path, warm: LocalRunner) -> None:
    module(tmp_path, "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(60)")
    ready = threading.Event()
    environment = {**os.environ, "PATH": f"{PYTHON}{os.pathsep}{os.environ['PATH']}"}
    running = warm.start(Command("python -m probe", (), tmp_path, environment), lambda _: ready.set())
    threading.Thread(target=lambda: (ready.wait(30), running.kill())).start()
    assert running.wait() == -signal.SIGKILL


def test_kill_does_not_wait_for_the_libraries(tmp_path: Path) -> None:
    module(tmp_path, "open('ran', 'w')")
    runner = LocalRunner(preload=("torch", "torchvision"))
    running = start(runner, "python -m probe", tmp_path, [])
    running.kill()
    assert running.wait() == -signal.SIGKILL
    runner.close()
    assert not (tmp_path / "ran").exists()


def test_what_a_command_left_running_ends_with_it(tmp_path: Path, cold: LocalRunner) -> None:
    code, lines = run(cold, "sleep 60 & echo $!", tmp_path)
    assert code == 0
    assert gone([int(lines[0])])


def test_a_lost_server_is_replaced_and_its_command_reported_as_killed(tmp_path: Path, cold: LocalRunner) -> None:
    lines: list[str] = []
    running = start(cold, "echo $PPID; sleep 60", tmp_path, lines)
    threading.Thread(target=lambda: (_until(lambda: bool(lines)), os.kill(int(lines[0]), signal.SIGKILL))).start()
    assert running.wait() == -signal.SIGKILL
    assert run(cold, "echo again", tmp_path) == (0, ["again"])


@pytest.mark.parametrize("line", ["python -m family", "python family.py; true"])
def test_what_a_command_had_started_ends_with_a_lost_server(tmp_path: Path, warm: LocalRunner, line: str) -> None:
    """Else it would go on writing while the command is run again."""
    module(tmp_path, FAMILY, "family")
    lines: list[str] = []
    running = start(warm, line, tmp_path, lines)
    threading.Thread(
        target=lambda: (_until(lambda: bool(lines)), os.kill(_server_of(lines[0]), signal.SIGKILL))
    ).start()
    assert running.wait() == -signal.SIGKILL
    assert gone([int(pid) for pid in lines[0].split()])


def _server_of(line: str) -> int:
    return psutil.Process(os.getpgid(int(line.split()[0]))).ppid()


def _until(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


def test_a_library_that_brings_the_server_down_costs_the_warm_start_and_nothing_else(tmp_path: Path) -> None:
    module(tmp_path, "import sys; print('ran', 'torch' in sys.modules)")
    runner = LocalRunner(preload=("torch", "antigravity_", "this.is_no_package"))
    running = start(runner, "python -m probe", tmp_path, lines := [])
    server = runner._server(warm=True)
    os.kill(server._process.pid, signal.SIGKILL)  # as the kernel does when memory runs out
    assert running.wait() == 0
    assert lines == ["ran False"]
    runner.close()


PARENT = """
    import os, sys
    from pathlib import Path
    from tasks.executor.processes.runner import Command, LocalRunner
    line = sys.argv[1]
    runner = LocalRunner(preload=("json",), attach_to=os.environ.get("GRAFT_WARM_SERVER", ""))
    command = Command(line, ("/bin/sh", "-c", line), Path.cwd(), dict(os.environ))
    runner.start(command, lambda text: print(text, flush=True)).wait()
"""


@pytest.fixture(params=["own", "shared"])
def light(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Parents start a server of their own, or attach to ours."""
    monkeypatch.delenv(SOCKET, raising=False)
    if request.param == "own":
        yield
        return
    with shared_server(("json",)):
        yield


def start_parent(folder: Path, line: str) -> "subprocess.Popen[str]":
    """Start a process that waits for a command and passes on what it says."""
    module(folder, PARENT, "parent")
    return subprocess.Popen(
        [sys.executable, "parent.py", line],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PATH": f"{PYTHON}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("line", ["python -m family", "python family.py; true"])
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_nothing_lives_on_when_the_parent_is_killed(tmp_path: Path, line: str, end: signal.Signals) -> None:
    module(tmp_path, FAMILY, "family")
    with start_parent(tmp_path, line) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        parent.send_signal(end)
        assert gone(pids)


LARGE = "import os, time; memory = bytearray(b'x' * 300_000_000); print(os.getpid(), flush=True); time.sleep(60)"
"""It takes the system a moment to end it."""


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("line", ["python -m large", "python large.py; true"])
def test_nothing_is_left_even_for_a_moment_when_the_parent_ends_by_itself(tmp_path: Path, line: str) -> None:
    module(tmp_path, LARGE, "large")
    with start_parent(tmp_path, line) as parent:
        assert parent.stdout is not None
        stage = int(parent.stdout.readline())
        server = _server_of(str(stage))
        parent.send_signal(signal.SIGINT)
        parent.wait()
        assert not [pid for pid in (stage, server) if alive(pid)]


def test_what_a_command_left_running_is_gone_when_its_end_is_told(tmp_path: Path, cold: LocalRunner) -> None:
    module(tmp_path, LARGE, "large")
    line = "python large.py > said & while [ ! -s said ]; do sleep 0.1; done; cat said"
    code, lines = run(cold, line, tmp_path)
    assert code == 0
    assert not alive(int(lines[0]))


IMPORTING = """
    import sys, time
    from tasks.executor.processes.runner import LocalRunner
    runner = LocalRunner(preload=("matplotlib",))
    runner.warm_up()
    print(runner._server(warm=True)._process.pid, flush=True)
    time.sleep(60)
"""


def test_a_server_that_is_still_importing_ends_with_its_parent(tmp_path: Path) -> None:
    """The import waits here for settings that never come, as long as one on a busy machine or longer."""
    module(tmp_path, IMPORTING, "parent")
    os.mkfifo(tmp_path / "settings")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MATPLOTLIBRC": str(tmp_path / "settings")}
    command = [sys.executable, "parent.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        time.sleep(0.5)
        assert alive(server)
        parent.kill()
        assert gone([server])


@pytest.mark.usefixtures("light")
def test_the_main_module_of_the_parent_is_not_run_again(tmp_path: Path) -> None:
    module(tmp_path, "print(__name__)")
    module(tmp_path, "open('count', 'a').write('x')\n" + textwrap.dedent(PARENT), "parent")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PATH": f"{PYTHON}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "parent.py", "python -m probe"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "__main__\n"
    assert (tmp_path / "count").read_text() == "x"


def test_importing_it_is_cheap() -> None:
    heavy = "{'torch', 'dvc', 'prefect', 'mlflow', 'numpy'}"
    program = f"import sys, tasks.executor.processes.runner, tasks.stage.key; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
