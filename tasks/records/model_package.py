"""Log a trial's network to MLflow as a model that stands alone: its code, weights, signature and requirements."""

import io
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.datasets.tokenizer import TOKENIZER
from tasks.records.columns import PICTURE, TEXT, column_of
from tasks.records.mlflow_client import default_server
from tasks.records.outcome import Trial
from tasks.records.run_content import KEY

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

REPOSITORY = Path(__file__).resolve().parents[2]
CODE = (
    "__init__.py",
    "artifacts.py",
    "datasets/__init__.py",
    "datasets/limits.py",
    "datasets/pictures.py",
    "datasets/tokenizer.py",
    "errors.py",
    "files.py",
    "npy.py",
    "records/__init__.py",
    "records/columns.py",
)
"""What of `tasks` the served model imports; `graft` goes with it as a whole."""
PACKAGES = ("mlflow", "numpy", "pandas", "pillow", "safetensors", "tokenizers", "torch", "torchvision")


def logged_model(client: "MlflowClient", run: "Run", trial: Trial) -> str:
    """The id of the model that belongs to a trial's run: the one that is there, or a new one."""
    for model in client.search_logged_models([run.info.experiment_id], f"tags.`{KEY}` = '{trial.key}'"):
        if model.status.name == "READY" and model.source_run_id == run.info.run_id:
            return str(model.model_id)
        client.delete_logged_model(model.model_id)  # left unfinished by a crash, or its run was replaced
    return _log(client, run, trial)


def _log(client: "MlflowClient", run: "Run", trial: Trial) -> str:
    import mlflow.pyfunc
    from mlflow.models import Model

    run_id = run.info.run_id
    model = client.create_logged_model(
        run.info.experiment_id,
        name=trial.name,
        source_run_id=run_id,
        tags={KEY: trial.key},
        params=run.data.params,
        model_type=f"{column_of(trial.description)} classifier",
    )
    with default_server(client.tracking_uri), tempfile.TemporaryDirectory() as folder:
        Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            model_id=model.model_id,
            python_model=str(REPOSITORY / "tasks/records/served_model.py"),
            artifacts={name: str(path) for name, path in _files(trial).items()},
            code_paths=_code(Path(folder)),
            signature=_signature(trial.description),
            input_example=_example(trial.description),
            pip_requirements=requirements(trial.description["backbone"]),
        )
    return str(model.model_id)


def requirements(backbone: str) -> list[str]:
    """Exact versions of what a model with that backbone needs, without the mark of a local build such as +cpu."""
    needed = [*PACKAGES, *(["timm"] if "timm:" in backbone else [])]
    return [f"{name}=={version(name).partition('+')[0]}" for name in needed]


def _files(trial: Trial) -> dict[str, Path]:
    """What the model is made of: weights, description, and of one that reads texts its tokenizer."""
    files = {"weights": trial.folder / "model.safetensors", "description": trial.folder / "model.json"}
    return files | ({"tokenizer": trial.folder / TOKENIZER} if column_of(trial.description) == TEXT else {})


def _signature(description: dict[str, Any]) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Map

    column = column_of(description)
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string if column == TEXT else DataType.binary, column)]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "label"),
                ColSpec(DataType.double, "confidence"),
                ColSpec(Map(DataType.double), "probabilities"),
            ]
        ),
    )


def _example(description: dict[str, Any]) -> Any:
    """A blank picture, or a text: the example shows the form of a request, and nothing of anybody's data."""
    import pandas as pd  # type: ignore[import-untyped]
    from PIL import Image

    if column_of(description) == TEXT:
        return pd.DataFrame({TEXT: ["What is this?"]})
    buffer = io.BytesIO()
    Image.new("L", (description["image_size"],) * 2).save(buffer, "PNG")
    return pd.DataFrame({PICTURE: [buffer.getvalue()]})


def _code(folder: Path) -> list[str]:
    """Copy the code that the model needs, and no more, into `folder`."""
    shutil.copytree(REPOSITORY / "graft", folder / "graft", ignore=shutil.ignore_patterns("__pycache__"))
    for name in CODE:
        (folder / "tasks" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / "tasks" / name, folder / "tasks" / name)
    return [str(folder / "graft"), str(folder / "tasks")]
