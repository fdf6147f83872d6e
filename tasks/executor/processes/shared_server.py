"""A warm server that other processes attach to, so that a service, or a session of tests, imports the libraries once.

The owner keeps it as long as it needs it, and names its socket in the environment of all that it starts. A process that
attaches gets a server of its own, forked from the shared one. It has to be of the same kind as the owner, since its
commands get what a process inherits from the owner and not from it; else it starts a server itself, as it does where
nobody listens any more.
"""

import hashlib
import json
import os
import resource
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tasks.executor.processes.warm_client import SCRIPT, THREAD_VARIABLES, OwnServer, Server

SOCKET = "GRAFT_WARM_SERVER"
"""In the environment: the socket of the server to attach to."""
READ_ON_IMPORT = ("CUDA_", "GOMP_", "KMP_", "LANG", "LC_", "LD_", "MALLOC_", "MKL_", "MLFLOW_CONF", "MLFLOW_LOG",
                  "OMP_", "OPENBLAS_", "PYTHON", "PYTORCH_", "TORCH", "TZ")  # fmt: skip
"""How the variables begin that libraries or the interpreter read when they start."""
SET_FOR_COMMANDS = (*THREAD_VARIABLES, "PYTHONPATH", "PYTHONUNBUFFERED")
LIMITS = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
WAITING = 128


class AttachedServer(Server):
    """A server forked for us from the one that listens at `path`.

    Raises:
        OSError: nobody listens there. One who refuses is lost on the first command.
    """

    def __init__(self, path: str, preload: tuple[str, ...]) -> None:
        channel = socket.socket(socket.AF_UNIX)
        try:
            channel.connect(path)
            super().__init__(channel, is_importing=True)
            self._send({"key": kind(preload)}, [])
        except OSError:
            channel.close()
            raise


@contextmanager
def shared_server(preload: tuple[str, ...]) -> Iterator[None]:
    """Offer a warm server to all processes that are started in the block; all that it started ends with the block.

    Where one is offered already, that one serves; where no socket can be made, each process starts its own.
    """
    if Path(os.environ.get(SOCKET, "")).is_socket():
        yield
        return
    folder = tempfile.mkdtemp(prefix="graft-")  # nobody else may enter it
    path = str(Path(folder, "warm"))
    server = _started(path, preload)
    os.environ[SOCKET] = path if server else ""
    try:
        yield
    finally:
        del os.environ[SOCKET]
        if server:
            server.close()
        shutil.rmtree(folder, ignore_errors=True)


def _started(path: str, preload: tuple[str, ...]) -> OwnServer | None:
    with socket.socket(socket.AF_UNIX) as listener, suppress(OSError):  # a path may be too long
        listener.bind(path)
        listener.listen(WAITING)
        return OwnServer(preload, listener, kind(preload))
    return None


def kind(preload: tuple[str, ...]) -> str:
    """A hash of what a process inherits or imports: of two with the same one, a fork serves as well as the other's."""
    found: dict[str, Any] = {
        "code": SCRIPT.read_text(encoding="utf-8"),
        "python": [sys.version, *map(os.path.realpath, (sys.executable, sys.prefix))],
        "installed": [sorted(_installed(Path(entry))) for entry in sys.path if entry.endswith("-packages")],
        "preload": preload,
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(READ_ON_IMPORT) and name not in SET_FOR_COMMANDS
        },
        "user": [os.getuid(), os.getgid(), sorted(os.getgroups())],
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in LIMITS},
        **_of_linux(),
    }
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _installed(packages: Path) -> list[str]:
    """Names with versions."""
    return [path.name for path in packages.glob("*.dist-info")]


def _of_linux() -> dict[str, Any]:
    """The cores, the file mask and the containers."""
    process = Path("/proc/self")
    if not (process / "ns").is_dir():
        return {}
    (mask,) = [line for line in (process / "status").read_text().splitlines() if line.startswith("Umask")]
    return {
        "cores": sorted(os.sched_getaffinity(0)),
        "mask": mask,
        "group": (process / "cgroup").read_text(),
        "spaces": [str((process / "ns" / name).readlink()) for name in ("mnt", "net", "pid", "user")],
    }
