"""The registered model: bytes of pictures in, label, confidence and probabilities out.

MLflow keeps this file itself ("models from code") beside the weights as safetensors and their description as JSON,
so no pickle is needed to load it. Pictures go through the same function as when the data was prepared.
"""

import io
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import torch
from mlflow.models import set_model

from graft.network import predict
from tasks.artifacts import load_network
from tasks.datasets.pictures import UnreadableError, fit, read_picture
from tasks.errors import GraftError

PICTURE = "picture"
"""The input's only column: a PNG or JPEG file in each row (base64 over REST)."""


class PictureClassifier(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A network that takes pictures of any size and mode."""

    def load_context(self, context: Any) -> None:
        """Rebuild the network from the files that were registered."""
        self.network = load_network(Path(context.artifacts["weights"]).parent)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002
        """Columns label, confidence (the label's probability) and probabilities (by class), a row a picture.

        Raises:
            GraftError: rows that hold no picture that can be read; all of them.
        """
        description = self.network.description
        pictures, problems = [], []
        for row, content in enumerate(model_input[PICTURE]):
            try:
                image = read_picture(io.BytesIO(content), description.channels)
                pictures.append(fit(image, description.image_size))
            except UnreadableError as error:
                problems.append(f"row {row}: {error}")
        if problems:
            raise GraftError(problems)
        probabilities = predict(self.network, torch.from_numpy(np.stack(pictures)))[0].numpy()
        return pd.DataFrame(
            {
                "label": [description.classes[best] for best in probabilities.argmax(axis=1)],
                "confidence": probabilities.max(axis=1).astype(float),
                "probabilities": [
                    dict(zip(description.classes, row, strict=True)) for row in probabilities.astype(float).tolist()
                ],
            }
        )


set_model(PictureClassifier())
