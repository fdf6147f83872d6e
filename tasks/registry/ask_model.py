"""Let a registered model answer for a folder of images, or a file of texts, in a process of its own.

    python -P tasks/registry/ask_model.py models:/NAME/VERSION FOLDER_OR_FILE ANSWERS.json

Nothing of this project is imported here: the model brings its own code, and that is what must answer.
"""

import json
import sys
from pathlib import Path

import mlflow
import pandas as pd  # type: ignore[import-untyped]


def answer(model_uri: str, asked: Path) -> dict[str, list[float]]:
    """Probabilities by class: a value for each image of the folder, in the order of their names, or for each text of
    the JSON file."""
    if asked.is_dir():
        rows = pd.DataFrame({"picture": [path.read_bytes() for path in sorted(asked.iterdir())]})
    else:
        rows = pd.DataFrame({"text": json.loads(asked.read_text(encoding="utf-8"))})
    answers = mlflow.pyfunc.load_model(model_uri).predict(rows)
    return dict(pd.DataFrame(answers["probabilities"].tolist()).to_dict("list"))


if __name__ == "__main__":
    uri, asked_path, answers_path = sys.argv[1:]
    Path(answers_path).write_text(json.dumps(answer(uri, Path(asked_path))), encoding="utf-8")
