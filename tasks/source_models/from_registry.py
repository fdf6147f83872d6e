"""Weights of a model that Graft registered in MLflow. MLflow is imported only when they are loaded."""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.common.errors import AwayError, GraftError
from tasks.settings.mlflow import read_mlflow_settings
from tasks.source_models.given_network import GivenNetwork, as_saved
from tasks.tracking.client import default_server, mlflow_error_in_words, open_client

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

MODELS = "models:/"
_FORM = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))")


def from_registry(weights: str, project: Path) -> GivenNetwork:
    """`models:/NAME@ALIAS` or `models:/NAME/VERSION` from the server that mlflow.yaml names.

    Raises:
        GraftError: the model is not found or was not registered by Graft, or the server does not answer.
    """
    form = _FORM.fullmatch(weights)
    if form is None:
        raise GraftError(
            f"params.yaml: weights: {weights!r} is not a valid model; valid: models:/NAME@ALIAS, models:/NAME/VERSION"
        )
    name, alias, version = form.groups()
    settings = read_mlflow_settings(project)
    try:
        client = open_client(project, settings)
        version = version or _version(client, name, alias)
        with default_server(settings.tracking.uri), tempfile.TemporaryDirectory() as folder:
            return as_saved(_downloaded(f"{MODELS}{name}/{version}", Path(folder)), f"version {version}")
    except GraftError:
        raise
    except Exception as error:  # the errors of MLflow, its store and its client have no common base
        raise AwayError(
            f"{weights}: {mlflow_error_in_words(error, settings)}", "See `tracking.uri` in mlflow.yaml."
        ) from None


def _version(client: "MlflowClient", name: str, alias: str) -> str:
    """The version that an alias points to now."""
    from mlflow.exceptions import MlflowException

    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException:
        known = ", ".join(sorted(model.name for model in client.search_registered_models())) or "none"
        raise GraftError(f"params.yaml: weights: the registry has no model {name!r}; it has: {known}") from None
    if alias not in aliases:
        known = ", ".join(sorted(aliases)) or "none"
        raise GraftError(f"params.yaml: weights: model {name!r} has no alias {alias!r}; it has: {known}")
    return str(aliases[alias])


def _downloaded(address: str, folder: Path) -> Path:
    """The folder inside `folder` that contains the downloaded model's network."""
    import mlflow.artifacts

    mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=str(folder))
    found = next((path.parent for path in sorted(folder.rglob("model.json"))), None)
    if found is None:
        raise GraftError(f"{address}: contains no model.json, so it is not a model that Graft registered")
    return found
