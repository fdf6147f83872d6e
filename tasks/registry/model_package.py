"""Log a trial's network to MLflow as a self-contained model: code, weights, signature and requirements."""

import io
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.common.project_templates import ROOT
from tasks.datasets.text.tokenizer import TOKENIZER
from tasks.registry.input_column import PICTURE, TEXT, column_of
from tasks.stage.code import closure
from tasks.tracking.client import default_server
from tasks.tracking.run_content import KEY
from tasks.tracking.run_result import RecordedTrial

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

MODEL = ROOT / "tasks" / "registry" / "served_model.py"
"""The file that MLflow runs to serve the model."""
PACKAGES = ("mlflow", "numpy", "pandas", "pillow", "safetensors", "tokenizers", "torch", "torchvision")


def logged_model(client: "MlflowClient", run: "Run", trial: RecordedTrial) -> str:
    """The id of the model of a trial's run: the existing one, or a new one."""
    for model in client.search_logged_models([run.info.experiment_id], f"tags.`{KEY}` = '{trial.key}'"):
        if model.status.name == "READY" and model.source_run_id == run.info.run_id:
            return str(model.model_id)
        client.delete_logged_model(model.model_id)  # left unfinished by a crash, or its run was replaced
    return _log(client, run, trial)


def _log(client: "MlflowClient", run: "Run", trial: RecordedTrial) -> str:
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
            python_model=str(MODEL),
            artifacts={name: str(path) for name, path in _files(trial).items()},
            code_paths=_code(Path(folder)),
            signature=_signature(trial.description),
            input_example=_example(trial.description),
            pip_requirements=requirements(trial.description["backbone"]),
        )
    return str(model.model_id)


def requirements(backbone: str) -> list[str]:
    """The exact package versions that a model with that backbone needs, without local suffixes such as +cpu."""
    needed = [*PACKAGES, *(["timm"] if "timm:" in backbone else [])]
    return [f"{name}=={version(name).partition('+')[0]}" for name in needed]


def _files(trial: RecordedTrial) -> dict[str, Path]:
    """The model's files: weights, description, and the tokenizer of a model that reads texts."""
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
    """A blank image, or a sample text: the example shows the form of a request without using real data."""
    import pandas as pd  # type: ignore[import-untyped]
    from PIL import Image

    if column_of(description) == TEXT:
        return pd.DataFrame({TEXT: ["What is this?"]})
    buffer = io.BytesIO()
    Image.new("L", (description["image_size"],) * 2).save(buffer, "PNG")
    return pd.DataFrame({PICTURE: [buffer.getvalue()]})


def _code(folder: Path) -> list[str]:
    """Copy the code that the model needs into `folder`: all of `graft`, and only the used files of `tasks`."""
    shutil.copytree(ROOT / "graft", folder / "graft", ignore=shutil.ignore_patterns("__pycache__"))
    used = {path for path in closure(MODEL) - {MODEL} if path.is_relative_to(ROOT / "tasks")}
    packages = {room / "__init__.py" for path in used for room in path.parents if room.is_relative_to(ROOT / "tasks")}
    for path in sorted(used | packages):
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return [str(folder / "graft"), str(folder / "tasks")]
