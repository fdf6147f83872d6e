"""`graft ui`: MLflow's page on this machine, opened on the trials compared by strategy, until it is interrupted."""

import sys
import webbrowser
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tasks.common.environment import STATE
from tasks.common.errors import GraftError
from tasks.common.local_server import LocalServer, Say, announce, free_port, running
from tasks.common.urls import without_password
from tasks.settings.mlflow import MlflowSettings, read_mlflow_settings
from tasks.tracking.client import create_experiment, find_experiment, mlflow_error_in_words, open_client
from tasks.tracking.saved_view import page_url, provision

LOG = Path(STATE) / "logs" / "mlflow.log"


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
    server = _server(root, settings, say)
    with suppress(KeyboardInterrupt), running(server, say) as process:
        _show(page_url(server.url, experiment_id, saved_view=saved_view), open_page, say)
        say("Press Ctrl-C to stop it.")
        process.wait()
        raise GraftError(f"MLflow's server ended by itself; see {root / LOG}")


def _prepare(root: Path, settings: MlflowSettings) -> tuple[str, bool]:
    """The experiment's id, and whether the saved view is there; a page without it is better than none."""
    try:
        client = open_client(root, settings)
        experiment_id = find_experiment(client, settings) or create_experiment(client, settings)
    except GraftError:
        raise
    except Exception as error:  # a server can fail in any way
        raise GraftError(f"MLflow cannot be opened: {mlflow_error_in_words(error, settings)}") from None
    try:
        provision(client, experiment_id)
    except Exception:  # a user who may only read, or an MLflow that keeps views in another way
        return experiment_id, False
    return experiment_id, True


def _show(url: str, open_page: bool, say: Say) -> None:
    say(f"MLflow: {without_password(url)}")
    if open_page:
        webbrowser.open(url)


def _server(root: Path, settings: MlflowSettings, say: Say) -> LocalServer:
    """That of the configured database, where a port is free.

    Raises:
        GraftError: none is.
    """
    ui = settings.ui
    port = free_port(ui.host, ui.port, "mlflow.yaml: ui", "Set ui.port or GRAFT_UI_PORT to another one.")
    if port != ui.port:
        say(f"Port {ui.port} is busy; taking {port}.")
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--default-artifact-root", settings.tracking.artifacts]
    command += ["--host", ui.host, "--port", str(port)]
    environment = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves half a minute and 2 GB
        "MLFLOW_TRACKING_URI": None,
        "MLFLOW_REGISTRY_URI": None,
        "MLFLOW_BACKEND_STORE_URI": settings.tracking.uri,  # it may hold a password, which `ps` would show
    }
    return LocalServer("MLflow", command, environment, ui.host, port, "/health", root / LOG)
