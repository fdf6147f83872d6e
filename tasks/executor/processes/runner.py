"""Where a stage's command runs: here, in a process group of its own, forked warm where that is possible.

`python -m MODULE args` is run by a child of a server that has imported torch and its company already (0.02 s instead of
5-8 s). Any other command is run by the shell as DVC would run it. Either way the caller gets its output line by line
and its exit code, can kill it with everything it started, and leaves nothing running when it is killed itself.

What a child may rely on: arguments, folder, environment, import path and exit codes are those of a fresh interpreter,
and no module of the project is loaded yet. What it may not: all children of a server inherit the same random states of
NumPy and torch, so a stage seeds them itself.

Importing this module is cheap. `start()` early, in the background of whatever else has to start.
"""

import atexit
import contextlib
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.executor.processes.shared_server import SOCKET, AttachedServer, shared_server
from tasks.executor.processes.warm_client import THREAD_VARIABLES, Choice, OwnServer, Process, Server

PRELOAD = (
    *(
        "numpy",
        "torch",
        "torch.utils.flop_counter",
        "torchvision",
        "matplotlib",
        "sklearn.covariance",
        "sklearn.manifold",
    ),
    *("mlflow", "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store"),
)
"""Libraries that stages share. Never a module of the project: children would see it as it was when this started."""
FORKED = PRELOAD if sys.platform == "linux" else ()
SHELL_CHARACTERS = frozenset("|&;<>()$`\\*?[]{}!~#\n")


@dataclass(frozen=True)
class Command:
    """One command of a stage, ready to run.

    Attributes:
        line: as `dvc.yaml` has it.
        shell: the arguments that DVC would execute for it, a shell first.
        folder: the stage's working directory.
        environment: all variables, as DVC would pass them.
        threads: how many threads its libraries may use.
        keep: descriptors that its process and all that it starts hold open: leases.
    """

    line: str
    shell: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    threads: int = 1
    keep: tuple[int, ...] = ()


class Running(Protocol):
    """A command that has been started."""

    def wait(self) -> int:
        """Pass its lines on until it ends; the exit code (negative: the signal that ended it)."""

    def kill(self) -> None:
        """End it and all that it started, promptly; may be called from another thread, and more than once."""


class Runner(Protocol):
    """A place where commands run: this machine, or a worker elsewhere."""

    def start(self, command: Command, on_line: Callable[[str], None]) -> Running:
        """Start `command`; `on_line` gets each line of its output in the thread that waits."""


class LocalRunner:
    """Runs commands on this machine, until it is closed or this process ends: then nothing of them is left.

    Args:
        preload: libraries to import once for all `python -m` commands; none: a fresh interpreter for each. On macOS
            few system libraries survive a fork, so nothing is preloaded there.
        attach_to: socket of a shared server that has imported them; if it cannot be used, one is started here.
    """

    def __init__(self, preload: tuple[str, ...] = FORKED, attach_to: str = "") -> None:
        self._preload = preload
        self._attach_to = self._may_attach_to = attach_to
        self._servers: dict[bool, Server] = {}
        self._lock = threading.Lock()
        atexit.register(self.close)  # the servers would end by themselves, but a moment after whoever waits for us

    @property
    def is_warm(self) -> bool:
        """Whether the libraries are imported, or about to be."""
        return True in self._servers

    def warm_up(self) -> None:
        """Begin to import the libraries, in the background."""
        if self._preload:
            self._server(warm=True)

    def start(self, command: Command, on_line: Callable[[str], None]) -> Running:
        """Start `command`; `on_line` gets each line of its output (stdout and stderr) in the thread that waits."""
        environment = stage_environment(command.environment, command.threads)
        request = {"cwd": str(command.folder), "env": environment, "threads": command.threads, "keep": command.keep}
        plain: Choice = (lambda: self._server(warm=False), {**request, "argv": list(command.shell)})
        choices = [plain, plain]  # once more with a new server, should this one turn out to be gone
        if self._preload and (words := python_module(command.line, environment["PATH"])):
            module = {**request, "module": words[0], "argv": words[1:]}
            warm: Choice = (lambda: self._server(warm=True), module)
            choices[:0] = [warm, warm] if self._attach_to else [warm]  # one of its own, should the shared one refuse
        return Process(choices, on_line).start()

    def close(self) -> None:
        """End the servers and whatever still runs."""
        with self._lock:
            for server in self._servers.values():
                server.close()
            self._servers.clear()
        atexit.unregister(self.close)

    def _server(self, *, warm: bool) -> Server:
        with self._lock:
            if warm not in self._servers or not self._servers[warm].alive:
                attached = self._attached() if warm else None
                self._servers[warm] = attached or OwnServer(self._preload if warm else ())
            return self._servers[warm]

    def _attached(self) -> Server | None:
        """The shared server, asked once: one that refused or was lost is not asked again."""
        path, self._may_attach_to = self._may_attach_to, ""
        with contextlib.suppress(OSError):
            return AttachedServer(path, self._preload) if path else None
        return None


def stage_environment(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """What DVC would pass, with the number of threads set, live output, and this interpreter as `python`.

    DVC takes `python` from PATH. In an activated virtual environment, the only kind in which `dvc repro` finds the
    project's libraries, that is this interpreter, and PATH stays as it is. Where Graft was started by its path
    (`.venv/bin/graft`), the environment is put first, as activating it would: else the same command would run with and
    without the libraries, depending on whether it is started warm.
    """
    variables = dict(environment)
    path = variables.get("PATH", os.defpath)
    if sys.prefix != sys.base_prefix and not _is_this_python("python", path):
        path = os.pathsep.join([str(Path(sys.executable).parent), path])
    variables.update(dict.fromkeys(THREAD_VARIABLES, str(threads)), PATH=path)
    variables.setdefault("PYTHONUNBUFFERED", "1")
    return variables


def python_module(line: str, path: str) -> list[str] | None:
    """The module and arguments of a plain `python -m MODULE args`, run by this interpreter; else None."""
    if SHELL_CHARACTERS & set(line):
        return None
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote: let the shell complain
        return None
    is_module = len(words) >= 3 and words[1] == "-m" and not words[2].startswith("-")
    return words[2:] if is_module and _is_this_python(words[0], path) else None


def _is_this_python(word: str, path: str) -> bool:
    """Whether `word` leads to the interpreter that runs this, and not to its namesake of another environment."""
    if not Path(word).name.startswith("python"):
        return False
    found, here = shutil.which(word, path=path), Path(sys.executable)
    if found is None:
        return False
    same_folder = Path(found).parent.resolve() == here.parent.resolve()
    return same_folder and Path(found).resolve() == here.resolve()


_shared: LocalRunner | None = None
_shared_lock = threading.Lock()


def shared_runner() -> LocalRunner:
    """The runner that all pipelines of this process share, so that the libraries are imported once."""
    global _shared
    with _shared_lock:
        _shared = _shared or LocalRunner(attach_to=os.environ.get(SOCKET, ""))
        return _shared


def start() -> None:
    """Begin to import the libraries of the shared runner in the background; returns at once."""
    shared_runner().warm_up()


@contextlib.contextmanager
def shared_by_runs() -> Iterator[None]:
    """Import the libraries once for all runs that are started in the block as processes of their own."""
    with shared_server(FORKED) if FORKED else contextlib.nullcontext():
        yield
