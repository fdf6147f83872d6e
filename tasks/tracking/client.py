"""Open MLflow: the configured server, its experiment, readable errors, and one writer at a time."""

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

from tasks.common.environment import prepare_environment
from tasks.common.errors import GraftError, of_the_disk
from tasks.common.places import STATE
from tasks.common.urls import without_password
from tasks.settings.mlflow import MlflowSettings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LOCK_SECONDS = 300


@contextmanager
def only_one(root: Path, what: str) -> Iterator[None]:
    """Hold the project's lock of that name, so that concurrent runs do not write the same thing twice.

    Raises:
        GraftError: another run held it for five minutes.
    """
    path = root / STATE / "mlflow" / f"{what}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise GraftError(
            f"{path}: another run has held this lock for {LOCK_SECONDS // 60} minutes",
            "Wait for that run to finish, then run again.",
        ) from None


def open_client(root: Path, settings: MlflowSettings) -> "MlflowClient":
    """A client of the configured server or database; a new database is created under a lock.

    MLflow is imported only here, since that takes seconds. Two processes must not create its tables at the same time.
    """
    prepare_environment(root)
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with only_one(root, "database"):
        _have_database(settings.tracking.uri)
        client = MlflowClient(tracking_uri=settings.tracking.uri, registry_uri=settings.tracking.uri)
        with _variable("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0"):
            client.search_experiments(max_results=1)  # creates the tables, or finds out at once that no server answers
    return client


def _have_database(uri: str) -> None:
    """Create a missing SQLite database in a temporary folder, then move it: MLflow cannot use a half-made one."""
    from mlflow.tracking import MlflowClient

    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.part"):
        shutil.rmtree(left, ignore_errors=True)
    # Under a new name each time: MLflow keeps a database open that it could not complete.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as folder:
        new = f"sqlite:///{folder}/{path.name}"
        MlflowClient(tracking_uri=new, registry_uri=new).search_experiments(max_results=1)
        Path(folder, path.name).rename(path)


@contextmanager
def default_server(uri: str) -> Iterator[None]:
    """Set the process's default server, which parts of MLflow require, and restore it and the environment after."""
    import mlflow

    with _variable("MLFLOW_TRACKING_URI", uri):
        mlflow.set_tracking_uri(uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(None)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the duration of the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def find_experiment(client: "MlflowClient", settings: MlflowSettings) -> str | None:
    """The id of the configured experiment; None if it does not exist yet.

    Raises:
        GraftError: it was deleted, or stores its files elsewhere than configured.
    """
    name = settings.tracking.experiment
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted":
        raise GraftError(
            f"experiment {name!r} was deleted in MLflow",
            f"Restore it (`mlflow experiments restore -x {experiment.experiment_id}`) or set another in mlflow.yaml.",
        )
    expected = _artifact_location(settings)
    if not settings.remote and experiment.artifact_location != expected:
        raise GraftError(
            f"experiment {name!r} keeps its files in {experiment.artifact_location}, not in {expected}: the project "
            "was moved, tracking.artifacts was changed, or an MLflow server created the experiment",
            "Set another experiment in mlflow.yaml, or delete the database: the results in this project are recorded "
            "again.",
        )
    return str(experiment.experiment_id)


def create_experiment(client: "MlflowClient", settings: MlflowSettings) -> str:
    """Create the configured experiment; a server decides itself where to store the files."""
    location = None if settings.remote else _artifact_location(settings)
    return str(client.create_experiment(settings.tracking.experiment, artifact_location=location))


def _artifact_location(settings: MlflowSettings) -> str:
    """One folder per experiment."""
    return f"{settings.tracking.artifacts}/{quote(settings.tracking.experiment, safe='')}"


def mlflow_error_in_words(error: Exception, settings: MlflowSettings) -> str:
    """What went wrong with MLflow, short, with the address and without a password."""
    if isinstance(error, GraftError):
        return str(error)
    address = without_password(settings.tracking.uri)
    if settings.remote and "failed with exception" in str(error):  # MLflow's wording for every network problem
        return f"{address} does not answer"
    first_line = (str(error).strip() or repr(error)).splitlines()[0]
    said = f"{address}: {type(error).__name__}: {first_line.replace(settings.tracking.uri, address)[:300]}"
    return "\n".join(filter(None, [said, of_the_disk(error)]))
