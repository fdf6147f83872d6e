"""The registered model: image files or texts in; label, confidence and probabilities out.

MLflow stores this file itself ("models from code") next to the weights as safetensors, their description as JSON and
the tokenizer of a model that reads texts, so no pickle is needed to load it. Images and texts go through the same
functions as when the data was prepared.
"""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import torch
from mlflow.models import set_model

from graft.networks.network import Description, predict
from tasks.artifacts.networks import load_network
from tasks.common.errors import GraftError
from tasks.datasets.pictures import UnreadableError, fit, read_picture
from tasks.datasets.text.tokenizer import encode, load_tokenizer
from tasks.registry.input_column import PICTURE, TEXT


class Classifier(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A network that takes images of any size and mode, or texts of any length."""

    def load_context(self, context: Any) -> None:
        """Load the network, and its tokenizer if it has one, from the registered files."""
        self.network = load_network(Path(context.artifacts["weights"]).parent)
        path = context.artifacts.get("tokenizer")
        self.tokenizer = load_tokenizer(Path(path)) if path else None

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ARG002
        """The columns label, confidence (the label's probability) and probabilities (by class), one row per item.

        Raises:
            GraftError: rows without a readable image or without a text; lists all of them.
        """
        description = self.network.description
        if self.tokenizer is None:
            read = _pictures(model_input[PICTURE], description)
        else:
            read = encode(self.tokenizer, _texts(model_input[TEXT]), description.length)[0]
        probabilities = predict(self.network, torch.from_numpy(read))[0].numpy()
        return pd.DataFrame(
            {
                "label": [description.classes[best] for best in probabilities.argmax(axis=1)],
                "confidence": probabilities.max(axis=1).astype(float),
                "probabilities": [
                    dict(zip(description.classes, row, strict=True)) for row in probabilities.astype(float).tolist()
                ],
            }
        )


def _pictures(contents: Iterable[bytes], description: Description) -> np.ndarray:
    """Decode image files to (N, C, H, W) uint8."""
    pictures, problems = [], []
    for row, content in enumerate(contents):
        try:
            image = read_picture(io.BytesIO(content), description.channels)
            pictures.append(fit(image, description.image_size))
        except UnreadableError as error:
            problems.append(f"row {row}: {error}")
    if problems:
        raise GraftError(problems)
    return np.stack(pictures)


def _texts(contents: Iterable[Any]) -> list[str]:
    texts = list(contents)
    if problems := [f"row {row}: no text" for row, text in enumerate(texts) if not isinstance(text, str)]:
        raise GraftError(problems)
    return texts


set_model(Classifier())
