"""The folder for the state of everything that Graft starts: inside the project, never in the home folder."""

import contextlib
import os
from pathlib import Path

from tasks.common.errors import GraftError
from tasks.common.places import GRAPH, STATE


def find_project(start: Path | None = None) -> Path:
    """The nearest folder, upwards from `start`, that contains a `dvc.yaml`.

    Raises:
        GraftError: there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / GRAPH).exists():
            return folder
    raise GraftError(
        f"{start}: no {GRAPH} in this folder or above",
        "Change into a Graft project, or create one with `graft init DIR`.",
    )


def prepare_here() -> None:
    """Set the defaults of the project that contains the current folder, if there is one."""
    with contextlib.suppress(GraftError):
        prepare_environment(find_project())


def prepare_environment(root: Path) -> None:
    """Set defaults for all tools, before any of them is imported; the user's own settings are kept.

    The timeouts allow for a busy machine (where Prefect's temporary server takes up to half a minute) and limit the
    cost of a missing MLflow server to seconds instead of minutes.
    """
    state = root / STATE
    defaults = {
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "HF_HOME": str(state / "huggingface"),
        "MPLCONFIGDIR": str(state / "matplotlib"),
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "graft",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # messages outside a run go to the console only
        "PREFECT_CLI_PROMPT": "false",
        "TORCH_HOME": str(state / "torch"),
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    state.mkdir(exist_ok=True)
