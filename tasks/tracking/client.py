"""Open MLflow: the right server, an experiment to write to, errors in words, and one writer at a time."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from filelock import FileLock, Timeout

from tasks.common.environment import STATE, prepare_environment
from tasks.common.errors import GraftError, of_the_disk
from tasks.common.urls import without_password
from tasks.settings.mlflow import MlflowSettings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LOCK_SECONDS = 300


@contextmanager
def only_one(root: Path, what: str) -> Iterator[None]:
    """Hold the project's lock of that name, so that two runs at once do not write the same thing twice.

    Raises:
        GraftError: someone else held it for five minutes.
    """
    path = root / STATE / "mlflow" / f"{what}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise GraftError(f"{path}: another run has held this lock for {LOCK_SECONDS // 60} minutes") from None


def open_client(root: Path, settings: MlflowSettings) -> "MlflowClient":
    """A client of the configured server or database; a new database is made under a lock.

    MLflow is imported here and not before: it takes seconds. Its tables must not be created by two at once.
    """
    prepare_environment(root)
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with only_one(root, "database"):
        _have_database(settings.tracking.uri)
        client = MlflowClient(tracking_uri=settings.tracking.uri, registry_uri=settings.tracking.uri)
        with _variable("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0"):
            client.search_experiments(max_results=1)  # makes the tables, or finds out at once that nobody answers
    return client


def _have_database(uri: str) -> None:
    """Make an SQLite database that is missing, next to and renamed: MLflow cannot go on with half of its tables."""
    from mlflow.tracking import MlflowClient

    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.part"):
        shutil.rmtree(left, ignore_errors=True)
    # Under a name of its own each time: MLflow keeps a database open that it could not finish.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as folder:
        new = f"sqlite:///{folder}/{path.name}"
        MlflowClient(tracking_uri=new, registry_uri=new).search_experiments(max_results=1)
        Path(folder, path.name).rename(path)


@contextmanager
def default_server(uri: str) -> Iterator[None]:
    """Parts of MLflow know only the process's default server: set it, and put it and the environment back."""
    import mlflow

    with _variable("MLFLOW_TRACKING_URI", uri):
        mlflow.set_tracking_uri(uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(None)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def find_experiment(client: "MlflowClient", settings: MlflowSettings) -> str | None:
    """The id of the configured experiment, None if it is not there yet.

    Raises:
        GraftError: it was deleted, or keeps its files where we cannot write them.
    """
    name = settings.tracking.experiment
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted":
        raise GraftError(
            f"experiment {name!r} was deleted in MLflow",
            f"Restore it (`mlflow experiments restore -x {experiment.experiment_id}`) or name another in mlflow.yaml.",
        )
    expected = _artifact_location(settings)
    if not settings.remote and experiment.artifact_location != expected:
        raise GraftError(
            f"experiment {name!r} keeps its files in {experiment.artifact_location}, not in {expected}: the project "
            "was moved, or tracking.artifacts changed, or an MLflow server made the experiment",
            "Name another experiment in mlflow.yaml, or delete the database: all results here are recorded again.",
        )
    return str(experiment.experiment_id)


def create_experiment(client: "MlflowClient", settings: MlflowSettings) -> str:
    """Make the configured experiment; a server decides itself where it keeps the files."""
    location = None if settings.remote else _artifact_location(settings)
    return str(client.create_experiment(settings.tracking.experiment, artifact_location=location))


def _artifact_location(settings: MlflowSettings) -> str:
    """A folder of its own for each experiment."""
    return f"{settings.tracking.artifacts}/{quote(settings.tracking.experiment, safe='')}"


def mlflow_error_in_words(error: Exception, settings: MlflowSettings) -> str:
    """What went wrong with MLflow, short, with the address and without a password."""
    if isinstance(error, GraftError):
        return str(error)
    address = without_password(settings.tracking.uri)
    if settings.remote and "failed with exception" in str(error):  # MLflow's words around every network problem
        return f"{address} does not answer"
    first_line = (str(error).strip() or repr(error)).splitlines()[0]
    said = f"{address}: {type(error).__name__}: {first_line.replace(settings.tracking.uri, address)[:300]}"
    return "\n".join(filter(None, [said, of_the_disk(error)]))
