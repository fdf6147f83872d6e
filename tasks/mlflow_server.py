"""`graft ui`: MLflow's page on this machine, opened on the trials compared by strategy, until it is interrupted."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from tasks.environment import STATE
from tasks.errors import GraftError
from tasks.mlflow_settings import MlflowSettings, Ui, read_mlflow_settings, without_password
from tasks.records.mlflow_client import create_experiment, find_experiment, in_words, open_client
from tasks.records.mlflow_view import page_url, provision

LOG = Path(STATE) / "logs" / "mlflow.log"
PORTS_TO_TRY = 20
START_SECONDS = 120
"""A busy machine takes up to half a minute."""
STOP_SECONDS = 3
"""How long it may take to end by itself. Where nobody reaps orphans (some containers) all of it is waited."""

Say = Callable[[str], None]


def announce(text: str) -> None:
    """Print a line at once, also where the output is no terminal."""
    print(text, flush=True)


def serve(root: Path, *, port: int | None = None, open_page: bool = True, say: Say = announce) -> None:
    """Show MLflow's page and keep it up until Ctrl-C or SIGTERM; a server elsewhere is only opened.

    Raises:
        GraftError: mlflow.yaml cannot be used, no port is free, the server does not start, or one elsewhere is away.
    """
    settings = read_mlflow_settings(root)
    if port is not None:
        settings = replace(settings, ui=replace(settings.ui, port=port))
    experiment_id, saved_view = _prepare(root, settings)
    if settings.remote:
        base = settings.tracking.uri
        _show(page_url(base, experiment_id, saved_view=saved_view), open_page, say)
        return
    with suppress(KeyboardInterrupt), running_server(root, settings, say) as (base, server):
        _show(page_url(base, experiment_id, saved_view=saved_view), open_page, say)
        say("Press Ctrl-C to stop it.")
        server.wait()
        raise GraftError(f"MLflow's server ended by itself; see {root / LOG}")


def _prepare(root: Path, settings: MlflowSettings) -> tuple[str, bool]:
    """The experiment's id, and whether the saved view is there; a page without it is better than none."""
    try:
        client = open_client(root, settings)
        experiment_id = find_experiment(client, settings) or create_experiment(client, settings)
    except GraftError:
        raise
    except Exception as error:  # a server can fail in any way
        raise GraftError(f"MLflow cannot be opened: {in_words(error, settings)}") from None
    try:
        provision(client, experiment_id)
    except Exception:  # a user who may only read, or an MLflow that keeps views in another way
        return experiment_id, False
    return experiment_id, True


def _show(url: str, open_page: bool, say: Say) -> None:
    say(f"MLflow: {without_password(url)}")
    if open_page:
        webbrowser.open(url)


@contextmanager
def running_server(
    root: Path, settings: MlflowSettings, say: Say = announce
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A server of the configured database that answers: its address and its process; stopped at the end.

    Raises:
        GraftError: no port is free, or the server does not start; with the end of its log.
    """
    port = free_port(settings.ui)
    if port != settings.ui.port:
        say(f"Port {settings.ui.port} is busy; taking {port}.")
    log_path = root / LOG
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log, _interrupted_by_sigterm():
        server = _start(settings, port, log)
        try:
            _wait_until_it_answers(server, settings.ui.host, port, log_path, say)
            yield f"http://{_reachable(settings.ui.host)}:{port}", server
        finally:
            _stop(server)


def free_port(ui: Ui) -> int:
    """The configured port, or the next one that is free.

    Raises:
        GraftError: none of the next ones is free, or the host is not this machine.
    """
    problem = ""
    for port in range(ui.port, min(ui.port + PORTS_TO_TRY, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ui.host, port))
            except OSError as error:
                problem = str(error.strerror or error)
            else:
                return port
    raise GraftError(
        f"mlflow.yaml: ui: no free port from {ui.port} on {ui.host}: {problem}",
        "Set ui.port or GRAFT_UI_PORT to another one.",
    )


def _start(settings: MlflowSettings, port: int, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--default-artifact-root", settings.tracking.artifacts]
    command += ["--host", settings.ui.host, "--port", str(port)]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # saves half a minute and 2 GB
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        environment.pop(name, None)
    environment["MLFLOW_BACKEND_STORE_URI"] = settings.tracking.uri  # it may hold a password, which `ps` would show
    # In a session of its own: Ctrl-C reaches us alone, and the whole group can be stopped.
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def _wait_until_it_answers(server: "subprocess.Popen[bytes]", host: str, port: int, log: Path, say: Say) -> None:
    started = time.monotonic()
    said = 0.0
    while not _answers(host, port):
        waited = time.monotonic() - started
        if server.poll() is not None or waited > START_SECONDS:
            end = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise GraftError(f"MLflow's server did not start; the end of {log}:\n{end}")
        if waited - said >= 3 or not said:
            say(f"Starting MLflow's server … {waited:.0f} s (usually 10-20 s)")
            said = waited or 0.1
        time.sleep(0.2)


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """End the server and its workers: asked first, killed if they take long or the user presses Ctrl-C again."""
    deadline = time.monotonic() + STOP_SECONDS
    try:
        _signal_group(server, signal.SIGTERM)
        while _signal_group(server, 0) and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        _signal_group(server, signal.SIGKILL)
        server.wait()


def _signal_group(server: "subprocess.Popen[bytes]", kind: int) -> bool:
    """Send a signal (0: none) to all processes of the server; whether there are any."""
    server.poll()  # a process that has ended counts until it is waited for
    try:
        os.killpg(server.pid, kind)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that the server is stopped too. Python allows it in the main thread only."""
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
