"""Splits and networks on disk: packed arrays, and safetensors beside a JSON description. Never a pickle."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from graft.inputs import Input, Pictures, Text
from graft.network import Description, Network
from graft.on_disk import Images, OnDisk, fitting
from graft.split import Split
from tasks.datasets.tokenizer import RAW, TOKENIZER, vocabulary_size
from tasks.errors import GraftError
from tasks.files import write_json
from tasks.npy import NpyReader


def save_split(folder: Path, images: np.ndarray, labels: np.ndarray, classes: list[str]) -> None:
    """Write images (N, C, H, W) uint8 and labels (N,) into an existing folder as `.npy`, which can be mapped."""
    np.save(folder / "images.npy", np.ascontiguousarray(images, dtype=np.uint8), allow_pickle=False)
    np.save(folder / "labels.npy", labels.astype(np.int64), allow_pickle=False)
    write_json(folder / "classes.json", classes)


def load_texts(folder: Path) -> list[str] | None:
    """The texts of a packed split as they were; None of one that holds pictures.

    Raises:
        GraftError: they cannot be read.
    """
    if not (folder / TOKENIZER).exists():
        return None
    try:
        texts: list[str] = json.loads((folder / RAW).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraftError(f"{folder}: no texts: {error}", "Run `dvc repro prepare` to make it anew.") from None
    return texts


def load_split(folder: Path) -> Split:
    """Read a split as `prepare` packs it; pictures that are too many for memory stay where they are.

    Raises:
        GraftError: a file is missing or is no such array.
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
        raise GraftError(f"{folder}: not a packed split: {error}", "Run `dvc repro prepare` to make it anew.") from None
    return Split(images, torch.from_numpy(labels), tuple(classes), groups, vocabulary)


def _load_images(path: Path) -> Images:
    file = NpyReader(path)
    return fitting(OnDisk(lambda rows: torch.from_numpy(file[rows.numpy()]), file.shape))


def packed_input(folder: Path) -> Input:
    """What a packed split holds, from the shape of its array alone.

    Raises:
        OSError: there is none.
    """
    if (folder / TOKENIZER).exists():
        return Text(vocabulary_size(folder / TOKENIZER), NpyReader(folder / "tokens.npy").shape[1])
    _, channels, size, _ = NpyReader(folder / "images.npy").shape
    return Pictures(channels, size)


def save_network(folder: Path, network: Network, tokenizer: Path | None = None) -> None:
    """Write `model.safetensors` and `model.json` into an existing folder; of a network that reads texts also its
    tokenizer, a copy of the file `tokenizer`."""
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    write_json(folder / "model.json", network.description.to_dict())
    if tokenizer is not None and network.description.vocabulary:
        shutil.copyfile(tokenizer, folder / TOKENIZER)


def load_network(folder: Path) -> Network:
    """Rebuild a network that `save_network` wrote, in evaluation mode on the CPU.

    Raises:
        GraftError: a file is missing, or the weights do not fit the description.
    """
    try:
        network = Network(load_description(folder))
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise GraftError(f"{folder}: no network that can be read: {error}") from None
    return network.eval()


def load_description(folder: Path) -> Description:
    """The description of the network in `folder`; raises OSError if there is none."""
    return Description.from_dict(json.loads((folder / "model.json").read_text(encoding="utf-8")))
