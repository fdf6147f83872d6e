"""torchvision's data sets by name: downloaded by torchvision, and written in a layout that the project reads.

Images of one size are written as arrays (NPZ), others as high-quality JPEG files in SPLIT/CLASS/.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.common.errors import AwayError, GraftError
from tasks.data_versions.version import OnLine
from tasks.datasets.limits import MOST_ARRAY
from tasks.settings.yaml_sections import suggest

PREFIX = "torchvision:"
TRAIN, TEST = "train", "test"
MOST_BYTES = MOST_ARRAY
"""Largest array of a split's images: a larger one could not be read again."""
QUALITY = 95
_NO_SETS = {"ImageFolder", "DatasetFolder", "VisionDataset"}


class _UnlikeError(Exception):
    """The images have several sizes, or are too many, for one array."""


@dataclass(frozen=True)
class _Split:
    """A split of a data set."""

    pictures: Any
    """A sequence of (PIL image, label)."""
    classes: list[str]


def names() -> list[str]:
    """The names of the supported data sets."""
    from torchvision import datasets

    kinds = {name: getattr(datasets, name) for name in datasets.__all__}
    return sorted(
        name
        for name, kind in kinds.items()
        if inspect.isclass(kind) and issubclass(kind, datasets.VisionDataset) and name not in _NO_SETS
    )


def write(name: str, folder: Path, root: Path, on_line: OnLine) -> None:
    """Write the data set `name` into the new `folder`; torchvision keeps its own files in `root`.

    Raises:
        GraftError: the name is unknown, the set cannot be downloaded, or it has no images with one class each.
    """
    if name not in names():
        raise GraftError(f"{PREFIX}{name}: torchvision has no such data set; {suggest(name, names())}")
    on_line(f"downloading {name} with torchvision")
    root.mkdir(parents=True, exist_ok=True)
    splits = _open(name, root)
    on_line(f"writing {', '.join(f'{len(split.pictures):,} ({key})' for key, split in splits.items())} images")
    try:
        arrays = {key: _gather(name, split) for key, split in splits.items()}
    except _UnlikeError:
        for key, split in splits.items():
            _write_files(name, split, folder / key)
        return
    folder.mkdir(parents=True)
    for key, (images, labels) in arrays.items():
        np.savez(folder / f"{key}.npz", images=images, labels=labels, class_names=np.array(splits[key].classes))


def _open(name: str, root: Path) -> dict[str, _Split]:
    from torchvision import datasets

    kind = getattr(datasets, name)
    known = inspect.signature(kind).parameters
    given: dict[str, Any] = {key: value for key, value in (("root", root), ("download", True)) if key in known}
    splits = {key: _construct(name, kind, given | choice) for key, choice in _choices(known).items()}
    classes = _classes(name, splits[TRAIN])
    return {key: _Split(found, classes) for key, found in splits.items()}


def _choices(known: Any) -> dict[str, dict[str, Any]]:
    """The arguments that select a data set's training split, and its test split if it has one."""
    if "train" in known:
        return {TRAIN: {"train": True}, TEST: {"train": False}}
    if "split" in known and isinstance(first := known["split"].default, str):
        return {TRAIN: {"split": first}, TEST: {"split": TEST}}
    return {TRAIN: {}}


def _construct(name: str, kind: Any, given: dict[str, Any]) -> Any:
    try:
        return kind(**given)
    except TypeError as error:
        raise GraftError(f"{PREFIX}{name} needs more than its name: {_short(error)}") from None
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a mirror that fails raises RuntimeError
        raise AwayError(
            f"{PREFIX}{name} is not available: {_short(error)}",
            f"Run again with network access, or put torchvision's own files into {given.get('root')} yourself.",
        ) from None
    except Exception as error:  # damaged files make their readers raise nearly anything
        raise GraftError(
            f"{PREFIX}{name} cannot be read; its files are probably truncated or damaged: {_short(error)}",
            f"Remove its files from {given.get('root')}, then run again.",
        ) from None


def _classes(name: str, found: Any) -> list[str]:
    """The class names; the numbers where torchvision has no names."""
    named = getattr(found, "classes", None)
    if isinstance(named, list | tuple) and named and all(isinstance(one, str) for one in named):
        return [one.replace("/", "-") for one in named]
    labels = {label for _, label in _pairs(name, found)}
    return [str(label) for label in range(max(labels) + 1)]


def _pairs(name: str, found: Any) -> Iterator[tuple[Image.Image, int]]:
    """Every image with its label.

    Raises:
        GraftError: an item is not an image with one class.
    """
    for index in range(len(found)):
        try:
            picture, label = found[index]
            label = int(label)
        except (TypeError, ValueError):
            raise GraftError(f"{PREFIX}{name} has no images with one class each") from None
        if not isinstance(picture, Image.Image):
            kind = type(picture).__name__
            raise GraftError(f"{PREFIX}{name} has no images with one class each: its items are of type {kind}")
        yield picture, label


def _gather(name: str, split: _Split) -> tuple[np.ndarray, np.ndarray]:
    images: list[np.ndarray] = []
    labels: list[int] = []
    for picture, label in _pairs(name, split.pictures):
        pixels = np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("RGB"))
        if (images and pixels.shape != images[0].shape) or pixels.nbytes * len(split.pictures) > MOST_BYTES:
            raise _UnlikeError
        images.append(pixels)
        labels.append(label)
    return np.stack(images), np.array(labels, dtype=np.int64)


def _write_files(name: str, split: _Split, folder: Path) -> None:
    for class_name in split.classes:
        (folder / class_name).mkdir(parents=True)
    for index, (picture, label) in enumerate(_pairs(name, split.pictures)):
        path = folder / split.classes[label] / f"{index:06}.jpg"
        picture.convert("RGB").save(path, quality=QUALITY, subsampling=0)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
