"""The present champion's score on the present test set: as recorded, or measured now if the test set is another.

Where the test split was drawn again from the same data, the champion may have learned from images that test it now.
That can only make it harder to replace.
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
from tasks.registry.gate import Standing
from tasks.tracking.run_result import TEST_DATA, RunResult

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

SCRIPT = Path(__file__).with_name("ask_model.py")
SECONDS = 600
"""How long a champion may take to answer for the test set."""


def scores_tag(test_md5: str) -> str:
    """The tag of a version that holds its scores on the test set of that hash."""
    return f"graft.scores.{test_md5}"


def standing(client: "MlflowClient", champion: "ModelVersion", result: RunResult, metric: str) -> Standing:
    """The champion's score; a new measurement is kept as a tag, so it is taken once for a test set."""
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
    """Let the champion answer for the raw test images or texts and score it as the evaluation scores trials.

    Raises:
        GraftError: they are not there, or it cannot be loaded, takes none of them, or knows other classes.
    """
    import torch

    from graft.measures.metrics import score
    from tasks.artifacts.splits import load_split
    from tasks.datasets.text.tokenizer import RAW
    from tasks.registry.raw_test_pictures import write_test_pictures

    test = load_split(result.root / TEST_DATA)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = result.root / TEST_DATA / RAW  # texts are kept as they were; images come from the raw data
        if not test.vocabulary:
            asked = folder / "images"
            asked.mkdir()
            write_test_pictures(result.root, asked)
        answers = _answers(client.tracking_uri, champion, asked, folder / "answers.json")
    if set(answers) != set(test.classes):
        raise GraftError(f"it knows the classes {sorted(answers)}, the test set has {sorted(test.classes)}")
    scores = score(torch.tensor([answers[label] for label in test.classes]).T, test.labels)
    return {metric: round(getattr(scores, metric), 4) for metric in get_args(Metric)}


def _answers(uri: str, champion: "ModelVersion", asked: Path, target: Path) -> dict[str, list[float]]:
    """What the champion says of the images or texts in `asked`: probabilities by class, a value for each."""
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
        raise GraftError(f"it could not answer: {last_line[:300]}") from None
    answers: dict[str, list[float]] = json.loads(target.read_text(encoding="utf-8"))
    return answers
