"""The champion's score on the current test set: the recorded one, or measured now if the test set has changed.

If the test split was drawn again from the same data, the champion may have been trained on images that are now in the
test set. That can only make it harder to replace.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from graft.settings import Metric
from tasks.common.errors import GraftError
from tasks.common.places import TEST
from tasks.registry.gate import Standing
from tasks.tracking.run_result import RunResult

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

SCRIPT = Path(__file__).with_name("ask_model.py")
SECONDS = 600
"""Time limit for the champion's predictions on the test set."""


def scores_tag(test_md5: str) -> str:
    """The tag of a version with its scores on the test set with that hash."""
    return f"graft.scores.{test_md5}"


def standing(client: "MlflowClient", champion: "ModelVersion", result: RunResult, metric: str) -> Standing:
    """The champion's score; a new measurement is stored as a tag, so it is made once per test set."""
    version = str(champion.version)
    recorded = json.loads(champion.tags.get(scores_tag(result.test_md5), "{}"))
    if metric in recorded:
        return Standing(version, recorded[metric])
    try:
        measured = _measure(client, champion, result)
    except GraftError as error:
        return Standing(version, problem=str(error))
    client.set_model_version_tag(champion.name, version, scores_tag(result.test_md5), json.dumps(measured))
    return Standing(version, measured[metric])


def _measure(client: "MlflowClient", champion: "ModelVersion", result: RunResult) -> dict[str, float]:
    """Run the champion on the raw test images or texts and score it as the evaluation scores trials.

    Raises:
        GraftError: the raw data is missing, or the champion cannot be loaded, fails, or has other classes.
    """
    import torch

    from graft.measures.metrics import score
    from tasks.artifacts.splits import load_split
    from tasks.datasets.text.tokenizer import RAW
    from tasks.registry.raw_test_pictures import write_test_pictures

    test = load_split(result.root / TEST)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = result.root / TEST / RAW  # the original texts are packed; images come from the raw data
        if not test.vocabulary:
            asked = folder / "images"
            asked.mkdir()
            write_test_pictures(result.root, asked)
        answers = _answers(client.tracking_uri, champion, asked, folder / "answers.json")
    if set(answers) != set(test.classes):
        raise GraftError(f"it has the classes {sorted(answers)}, but the test set has {sorted(test.classes)}")
    scores = score(torch.tensor([answers[label] for label in test.classes]).T, test.labels)
    return {metric: round(getattr(scores, metric), 4) for metric in get_args(Metric)}


def _answers(uri: str, champion: "ModelVersion", asked: Path, target: Path) -> dict[str, list[float]]:
    """The champion's predictions for the images or texts in `asked`: probabilities by class, one value per item."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri}
    environment.pop("PYTHONPATH", None)  # its own code comes with the model
    model = f"models:/{champion.name}/{champion.version}"
    command = [sys.executable, "-P", str(SCRIPT), model, str(asked), str(target)]
    try:
        subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=True)
    except subprocess.TimeoutExpired:
        raise GraftError(f"it did not answer within {SECONDS // 60} minutes") from None
    except subprocess.CalledProcessError as error:
        last_line = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise GraftError(f"it failed: {last_line[:300]}") from None
    answers: dict[str, list[float]] = json.loads(target.read_text(encoding="utf-8"))
    return answers
