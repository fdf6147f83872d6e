"""Prefect's server: the configured one, a temporary one for a run, or the project's own for its schedule."""

import importlib.util
import os
import random
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.common.errors import AwayError
from tasks.common.local_server import LocalServer, free_port, started, wait_until_it_answers
from tasks.common.places import STATE
from tasks.common.urls import without_password

LOG = STATE / "logs" / "prefect.log"
HOST = "127.0.0.1"
PORT = 4200
_FLUSH_SECONDS = 10


@contextmanager
def prefect_server(root: Path) -> Iterator[Callable[[], None]]:
    """Prefect's server at PREFECT_API_URL, or a temporary one; yields a function that waits until it answers.

    The temporary server is the one that Prefect would start itself, but it always ends with this process.

    Raises:
        GraftError: no server answers at PREFECT_API_URL, or the temporary one does not start.
    """
    if os.environ.get("PREFECT_API_URL"):
        check_prefect()
        yield lambda: None
        return
    server = _temporary_server(root)
    os.environ["PREFECT_API_URL"] = f"{server.url}/api"
    try:
        with started(server) as process:
            try:
                yield lambda: wait_until_it_answers(server, process, lambda _: None)
            finally:
                _flush()
    finally:
        del os.environ["PREFECT_API_URL"]


def _flush() -> None:
    """Wait until Prefect's background threads have sent the remaining logs and events; without a server they would
    retry for minutes as the interpreter exits."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_FLUSH_SECONDS)


def _temporary_server(root: Path) -> LocalServer:
    spec = importlib.util.find_spec("prefect")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    port = free_port(HOST, random.randrange(8000, 9000), "Prefect's temporary server", "Run again.")
    app = ("--app-dir", spec.submodule_search_locations[0], "--factory", "prefect.server.api.server:create_app")
    command = (sys.executable, "-m", "uvicorn", *app, "--host", HOST, "--port", str(port), "--log-level", "error")
    environment = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    return LocalServer("Prefect", command, environment, HOST, port, "/api/health", root / LOG)


def check_prefect() -> None:
    """Refuse a configured Prefect server that does not answer: the flow would end with a traceback of its client.

    Raises:
        GraftError: no server answers at PREFECT_API_URL.
    """
    url = os.environ["PREFECT_API_URL"]
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=10):  # noqa: S310  (the user's own setting)
            pass
    except urllib.error.HTTPError:
        return  # a server answers; Prefect reports whether access is allowed
    except (OSError, ValueError) as error:
        raise AwayError(
            f"PREFECT_API_URL: no Prefect server answers at {without_password(url)}: {error}",
            "Start it with `prefect server start`, or unset PREFECT_API_URL: each run then starts a temporary server.",
        ) from None


def persistent_server(root: Path, first: int) -> LocalServer:
    """Prefect's server on a free port; its database is the project's, or PREFECT_SERVER_DATABASE_CONNECTION_URL."""
    port = free_port(HOST, first, "graft schedule", "Use another port: graft schedule --port 4300")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    return LocalServer("Prefect", command, {}, HOST, port, "/api/health", root / LOG)
