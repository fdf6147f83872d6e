"""Let a registered model answer for a folder of pictures, in a process of its own.

    python -P tasks/records/model_answers.py models:/NAME/VERSION FOLDER ANSWERS.json

Nothing of this project is imported here: the model brings its own code, and that is what must answer.
"""

import json
import sys
from pathlib import Path

import mlflow
import pandas as pd  # type: ignore[import-untyped]


def answer(model_uri: str, folder: Path) -> dict[str, list[float]]:
    """Probabilities by class, a value for each picture of `folder`, in the order of their names."""
    files = pd.DataFrame({"picture": [path.read_bytes() for path in sorted(folder.iterdir())]})
    answers = mlflow.pyfunc.load_model(model_uri).predict(files)
    return dict(pd.DataFrame(answers["probabilities"].tolist()).to_dict("list"))


if __name__ == "__main__":
    uri, pictures, answers_path = sys.argv[1:]
    Path(answers_path).write_text(json.dumps(answer(uri, Path(pictures))), encoding="utf-8")
