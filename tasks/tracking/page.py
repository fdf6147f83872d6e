"""`graft ui`: serve MLflow's page, opened on the trials compared by strategy, until it is interrupted."""

import sys
import webbrowser
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tasks.common.errors import GraftError
from tasks.common.local_server import LocalServer, Say, announce, free_port, running
from tasks.common.places import STATE
from tasks.common.urls import without_password
from tasks.settings.mlflow import MlflowSettings, read_mlflow_settings
from tasks.tracking.client import create_experiment, find_experiment, mlflow_error_in_words, open_client
from tasks.tracking.saved_view import page_url, provision

LOG = STATE / "logs" / "mlflow.log"


def serve(root: Path, *, port: int | None = None, open_page: bool = True, say: Say = announce) -> None:
    """Serve MLflow's page until Ctrl-C or SIGTERM; the page of a remote server is only opened.

    Raises:
        GraftError: mlflow.yaml is not valid, no port is free, or the server does not start or answer.
    """
    settings = read_mlflow_settings(root)
    if port is not None:
        settings = replace(settings, ui=replace(settings.ui, port=port))
    experiment_id, saved_view = _prepare(root, settings)
    if settings.remote:
        base = settings.tracking.uri
        _show(page_url(base, experiment_id, saved_view=saved_view), open_page, say)
        return
    server = _server(root, settings, say)
    with suppress(KeyboardInterrupt), running(server, say) as process:
        _show(page_url(server.url, experiment_id, saved_view=saved_view), open_page, say)
        say("Press Ctrl-C to stop it.")
        process.wait()
        raise GraftError(f"MLflow's server stopped unexpectedly; see {root / LOG}")


def _prepare(root: Path, settings: MlflowSettings) -> tuple[str, bool]:
    """The experiment's id, and whether it has the saved view; a page without the view is better than none."""
    try:
        client = open_client(root, settings)
        experiment_id = find_experiment(client, settings) or create_experiment(client, settings)
    except GraftError:
        raise
    except Exception as error:  # a server can fail in any way
        raise GraftError(f"MLflow cannot be opened: {mlflow_error_in_words(error, settings)}") from None
    try:
        provision(client, experiment_id)
    except Exception:  # a user without write access, or an MLflow that stores views differently
        return experiment_id, False
    return experiment_id, True


def _show(url: str, open_page: bool, say: Say) -> None:
    say(f"MLflow: {without_password(url)}")
    if open_page:
        webbrowser.open(url)


def _server(root: Path, settings: MlflowSettings, say: Say) -> LocalServer:
    """The server of the configured database, on a free port.

    Raises:
        GraftError: no port is free.
    """
    ui = settings.ui
    port = free_port(ui.host, ui.port, "mlflow.yaml: ui", "Set ui.port or GRAFT_UI_PORT to another port.")
    if port != ui.port:
        say(f"Port {ui.port} is busy; using {port}.")
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--default-artifact-root", settings.tracking.artifacts]
    command += ["--host", ui.host, "--port", str(port)]
    environment = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves half a minute and 2 GB
        "MLFLOW_TRACKING_URI": None,
        "MLFLOW_REGISTRY_URI": None,
        "MLFLOW_BACKEND_STORE_URI": settings.tracking.uri,  # it may contain a password, which `ps` would show
    }
    return LocalServer("MLflow", command, environment, ui.host, port, "/health", root / LOG)
