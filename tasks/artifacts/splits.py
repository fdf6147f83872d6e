"""Packed splits on disk: arrays as `.npy`, which can be read row by row. Never a pickle."""

import json
from pathlib import Path

import numpy as np
import torch

from graft.data.inputs import Input, Pictures, Text
from graft.data.on_disk import Images, OnDisk, fitting
from graft.data.split import Split
from tasks.common.errors import GraftError
from tasks.common.files import write_json
from tasks.common.npy import NpyReader
from tasks.datasets.text.tokenizer import RAW, TOKENIZER, vocabulary_size


def save_split(folder: Path, images: np.ndarray, labels: np.ndarray, classes: list[str]) -> None:
    """Write images (N, C, H, W) uint8 and labels (N,) as `.npy` into an existing folder."""
    np.save(folder / "images.npy", np.ascontiguousarray(images, dtype=np.uint8), allow_pickle=False)
    np.save(folder / "labels.npy", labels.astype(np.int64), allow_pickle=False)
    write_json(folder / "classes.json", classes)


def load_texts(folder: Path) -> list[str] | None:
    """The original texts of a packed split; None if it holds images.

    Raises:
        GraftError: they cannot be read.
    """
    if not (folder / TOKENIZER).exists():
        return None
    try:
        texts: list[str] = json.loads((folder / RAW).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraftError(
            f"{folder}: its texts cannot be read: {error}", "Run `dvc repro prepare` to make it again."
        ) from None
    return texts


def load_split(folder: Path) -> Split:
    """Read a split that `prepare` packed; images that do not fit into memory are read from the disk when needed.

    Raises:
        GraftError: a file is missing or is not a valid array.
    """
    try:
        has_texts = (folder / TOKENIZER).exists()
        images = _load_images(folder / ("tokens.npy" if has_texts else "images.npy"))
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
        path = folder / "groups.npy"
        groups = torch.from_numpy(np.load(path, allow_pickle=False)) if path.exists() else None
        vocabulary = vocabulary_size(folder / TOKENIZER) if has_texts else 0
    except (OSError, ValueError) as error:
        raise GraftError(
            f"{folder}: not a packed split: {error}", "Run `dvc repro prepare` to make it again."
        ) from None
    return Split(images, torch.from_numpy(labels), tuple(classes), groups, vocabulary)


def _load_images(path: Path) -> Images:
    file = NpyReader(path)
    return fitting(OnDisk(lambda rows: torch.from_numpy(file[rows.numpy()]), file.shape))


def packed_input(folder: Path) -> Input:
    """The kind and shape of a packed split's items, from the header of its array only.

    Raises:
        OSError: there is no such file.
    """
    if (folder / TOKENIZER).exists():
        return Text(vocabulary_size(folder / TOKENIZER), NpyReader(folder / "tokens.npy").shape[1])
    _, channels, size, _ = NpyReader(folder / "images.npy").shape
    return Pictures(channels, size)
