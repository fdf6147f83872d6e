"""A local server of another program, kept running while a command needs it: MLflow's page, Prefect's server."""

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks.common.errors import GraftError
from tasks.common.parent_death import end_with_parent

PORTS_TO_TRY = 20
START_SECONDS = 120
"""Time allowed for starting; a busy machine takes up to half a minute."""
STOP_SECONDS = 3
"""Time allowed for stopping. All of it is waited where orphan processes are never reaped (some containers)."""

Say = Callable[[str], None]


def announce(text: str) -> None:
    """Print a line immediately, even if the output is not a terminal."""
    print(text, flush=True)


@dataclass(frozen=True)
class LocalServer:
    """How a server is started, and how to find out that it is up.

    Attributes:
        name: for messages.
        command: starts it in the foreground.
        environment: variables of its process, in addition to ours; None removes a variable.
        host: where it listens.
        port: where it listens.
        health: path of a page that answers with 200 once it is up.
        log: file for its output.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str | None]
    host: str
    port: int
    health: str
    log: Path

    @property
    def url(self) -> str:
        """Its address for programs on this machine."""
        return f"http://{reachable(self.host)}:{self.port}"


@contextmanager
def running(server: LocalServer, say: Say = announce) -> Iterator["subprocess.Popen[bytes]"]:
    """The process of a server that answers; stopped at the end, with all processes that it started.

    Raises:
        GraftError: it does not start; shows the end of its log.
    """
    with started(server) as process:
        wait_until_it_answers(server, process, say)
        yield process


@contextmanager
def started(server: LocalServer) -> Iterator["subprocess.Popen[bytes]"]:
    """The process of a server that was started but may not answer yet; stopped at the end.

    Call it in the main thread: Linux stops the server when the thread that started it ends.
    """
    server.log.parent.mkdir(parents=True, exist_ok=True)
    given = {**os.environ, **server.environment}
    environment = {name: value for name, value in given.items() if value is not None}
    with server.log.open("wb") as log, interrupted_by_sigterm():
        # In its own session: Ctrl-C reaches only us, and the whole process group can be stopped.
        process = subprocess.Popen(
            list(server.command),
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        try:
            yield process
        finally:
            _stop(process)


def free_port(host: str, first: int, where: str, way_out: str) -> int:
    """`first`, or the next port that is free.

    Raises:
        GraftError: none of the next ports is free, or the host is not this machine; `where` names the setting.
    """
    problem = ""
    for port in range(first, min(first + PORTS_TO_TRY, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                problem = str(error.strerror or error)
            else:
                return port
    raise GraftError(f"{where}: no free port from {first} on {host}: {problem}", way_out)


def answers(host: str, port: int, path: str) -> bool:
    """Whether a server there answers with 200 for that path."""
    connection = http.client.HTTPConnection(reachable(host), port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reachable(host: str) -> str:
    """The address under which this machine reaches a server that listens at `host`."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that the server is stopped too. Python allows this in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def wait_until_it_answers(server: LocalServer, process: "subprocess.Popen[bytes]", say: Say = announce) -> None:
    """Return once the server answers, reporting from time to time how long it takes.

    Raises:
        GraftError: it does not start; shows the end of its log.
    """
    started = time.monotonic()
    said = 0.0
    while not answers(server.host, server.port, server.health):
        waited = time.monotonic() - started
        if process.poll() is not None or waited > START_SECONDS:
            end = "\n".join(server.log.read_text(errors="replace").splitlines()[-5:])
            raise GraftError(f"{server.name}'s server did not start; the end of {server.log}:\n{end}")
        if waited - said >= 3 or not said:
            say(f"Starting {server.name}'s server … {waited:.0f} s (usually 10-20 s)")
            said = waited or 0.1
        time.sleep(0.2)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop the server and its workers with SIGTERM; kill them after a while, or if the user presses Ctrl-C again."""
    deadline = time.monotonic() + STOP_SECONDS
    try:
        _signal_group(process, signal.SIGTERM)
        while _signal_group(process, 0) and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: "subprocess.Popen[bytes]", kind: int) -> bool:
    """Send a signal (0: none) to all processes of the server; returns whether there are any."""
    process.poll()  # an ended process still counts until it is waited for
    try:
        os.killpg(process.pid, kind)
    except ProcessLookupError:
        return False
    return True
