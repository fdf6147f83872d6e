"""Run a registered model on a folder of images or a file of texts, in a separate process.

    python -P tasks/registry/ask_model.py models:/NAME/VERSION FOLDER_OR_FILE ANSWERS.json

Nothing of this project is imported here, since the model brings its own code, and that is what must be measured.
"""

import json
import sys
from pathlib import Path

import mlflow
import pandas as pd  # type: ignore[import-untyped]


def answer(model_uri: str, asked: Path) -> dict[str, list[float]]:
    """Probabilities by class: one value per image of the folder, in the order of their names, or per text of the JSON
    file."""
    if asked.is_dir():
        rows = pd.DataFrame({"picture": [path.read_bytes() for path in sorted(asked.iterdir())]})
    else:
        rows = pd.DataFrame({"text": json.loads(asked.read_text(encoding="utf-8"))})
    answers = mlflow.pyfunc.load_model(model_uri).predict(rows)
    return dict(pd.DataFrame(answers["probabilities"].tolist()).to_dict("list"))


if __name__ == "__main__":
    uri, asked_path, answers_path = sys.argv[1:]
    Path(answers_path).write_text(json.dumps(answer(uri, Path(asked_path))), encoding="utf-8")
