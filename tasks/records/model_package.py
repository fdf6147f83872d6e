"""Log a trial's network to MLflow as a model that stands alone: its code, weights, signature and requirements."""

import io
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.records.mlflow_client import default_server
from tasks.records.outcome import Trial
from tasks.records.run_content import KEY

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

REPOSITORY = Path(__file__).resolve().parents[2]
CODE = ("__init__.py", "artifacts.py", "datasets/__init__.py", "datasets/pictures.py", "errors.py", "files.py")
"""What of `tasks` the served model imports; `graft` goes with it as a whole."""
PACKAGES = ("mlflow", "numpy", "pandas", "pillow", "safetensors", "torch", "torchvision")


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
        model_type="picture classifier",
    )
    with default_server(client.tracking_uri), tempfile.TemporaryDirectory() as folder:
        Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            model_id=model.model_id,
            python_model=str(REPOSITORY / "tasks/records/served_model.py"),
            artifacts={
                "weights": str(trial.folder / "model.safetensors"),
                "description": str(trial.folder / "model.json"),
            },
            code_paths=_code(Path(folder)),
            signature=_signature(),
            input_example=_example(trial.description),
            pip_requirements=requirements(),
        )
    return str(model.model_id)


def requirements() -> list[str]:
    """Exact versions of what the model needs, without the mark of a local build such as +cpu."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in PACKAGES]


def _signature() -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Map

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "picture")]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "label"),
                ColSpec(DataType.double, "confidence"),
                ColSpec(Map(DataType.double), "probabilities"),
            ]
        ),
    )


def _example(description: dict[str, Any]) -> Any:
    """A blank picture: the example shows the form of a request, and no picture of anybody's data."""
    import pandas as pd  # type: ignore[import-untyped]
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (description["image_size"],) * 2).save(buffer, "PNG")
    return pd.DataFrame({"picture": [buffer.getvalue()]})


def _code(folder: Path) -> list[str]:
    """Copy the code that the model needs, and no more, into `folder`."""
    shutil.copytree(REPOSITORY / "graft", folder / "graft", ignore=shutil.ignore_patterns("__pycache__"))
    for name in CODE:
        (folder / "tasks" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / "tasks" / name, folder / "tasks" / name)
    return [str(folder / "graft"), str(folder / "tasks")]
