"""What the data card in the terminal shows, from one pass over the raw data: counts, sizes, duplicates, examples.

Legend: N images, C channels, H W height and width, K classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from tasks.common.places import STATE
from tasks.datasets.card import class_counts, contact_sheet, duplicates
from tasks.datasets.check import Examined, Part
from tasks.datasets.layouts.domain import TEST, TRAIN, LabelledImages
from tasks.datasets.pack_texts import examples
from tasks.datasets.pictures import fit
from tasks.settings.prepare import PrepareSettings

SHEETS = STATE / "cards"
"""Where contact sheets are written, one PNG per part."""
PER_CLASS = 10
LARGEST = 96
"""Width and height of an image on a contact sheet, in pixels, at most."""
MOST_CLASSES = 50
"""Classes on a contact sheet, at most."""

Size = tuple[int, int]
"""Width and height."""


@dataclass(frozen=True)
class PictureLook:
    """Sizes, colour and examples of a part's images."""

    sizes: tuple[Size, Size, Size]
    """The smallest, the median and the largest, widths and heights taken separately."""
    has_colour: bool
    """Whether any image of the contact sheet is in colour."""
    pictures: np.ndarray
    """(M, C, H, W) uint8: examples of each class, as they will be packed but at most `LARGEST` pixels wide."""
    labels: np.ndarray
    """(M,) index into the part's classes."""


@dataclass(frozen=True)
class TextLook:
    """Lengths and examples of a part's texts."""

    characters: tuple[int, int, int]
    """Number of characters of the shortest, the median and the longest text."""
    examples: dict[str, tuple[str, ...]]
    """A few texts per class, each on one line."""


@dataclass(frozen=True)
class PartLook:
    """One part of the data: the source, the target's training pool, or its test part."""

    path: str
    layout: str
    split: Literal["all", "given", "held out"]
    classes: dict[str, int]
    """Number of images or texts per class."""
    duplicates: int
    """Images or texts that repeat an earlier one."""
    ignored: int
    """Files of the domain that are not data."""
    skipped: int
    """Images or texts that are left out because they cannot be read."""
    content: PictureLook | TextLook

    @property
    def n(self) -> int:
        """Number of images or texts."""
        return sum(self.classes.values())


def look(found: Examined, settings: PrepareSettings) -> dict[str, PartLook]:
    """A preview of each part found (source, pool, test), by name; the data must have no problems."""
    return {name: _look_at(found, name, part, settings) for name, part in found.parts.items()}


def save_sheets(root: Path, parts: dict[str, PartLook]) -> list[Path]:
    """Write the contact sheet of each part of images into .graft/cards; returns the paths of the files."""
    paths = []
    for name, part in parts.items():
        if isinstance(part.content, PictureLook):
            path = root / SHEETS / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            classes = list(part.classes)[:MOST_CLASSES]
            sheet = contact_sheet(part.content.pictures, part.content.labels, classes, PER_CLASS)
            Image.fromarray(sheet).save(beside := path.with_suffix(".part"), "PNG")
            paths.append(beside.replace(path))
    return paths


def _look_at(found: Examined, name: str, part: Part, settings: PrepareSettings) -> PartLook:
    split = part.domain.splits[TRAIN if name != "test" or found.has_made_test else TEST]
    return PartLook(
        path=part.domain.path,
        layout=part.domain.layout,
        split="all" if name == "source" else "held out" if found.has_made_test else "given",
        classes=class_counts(part.labels, part.domain.classes),
        duplicates=duplicates(part.digests),
        ignored=part.domain.ignored,
        skipped=len(found.skipped.get("pool" if found.has_made_test else name, [])),
        content=_at_pictures(part, split, settings) if isinstance(split, LabelledImages) else _at_texts(part),
    )


def _at_texts(part: Part) -> TextLook:
    lengths, texts = np.sort(part.sizes[:, 0]).tolist(), part.texts or []
    of_class = {name: examples(texts, part.labels, label) for label, name in enumerate(part.domain.classes)}
    return TextLook((lengths[0], lengths[len(lengths) // 2], lengths[-1]), of_class)


def _at_pictures(part: Part, split: LabelledImages, settings: PrepareSettings) -> PictureLook:
    widths_heights = np.sort(part.sizes[:, ::-1], axis=0)
    smallest, median, largest = (widths_heights[place].tolist() for place in (0, len(widths_heights) // 2, -1))
    chosen = np.array([*_some_of_each(part.labels, len(part.domain.classes))], dtype=np.int64)
    samples = [split.read(int(part.rows[place]), 3) for place in chosen]
    size = min(settings.image_size, LARGEST)
    mode = "L" if settings.channels == 1 else "RGB"
    return PictureLook(
        sizes=((smallest[0], smallest[1]), (median[0], median[1]), (largest[0], largest[1])),
        has_colour=any(_has_colour(image) for image in samples),
        pictures=np.stack([fit(image.convert(mode), size) for image in samples]),
        labels=part.labels[chosen],
    )


def _some_of_each(labels: np.ndarray, classes: int) -> Iterator[int]:
    """Indices of up to `PER_CLASS` images per class, sampled evenly."""
    for label in range(min(classes, MOST_CLASSES)):
        members = np.flatnonzero(labels == label)
        shown = min(PER_CLASS, len(members))
        yield from (int(members[column * len(members) // shown]) for column in range(shown))


def _has_colour(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels[..., :1] != pixels[..., 1:]).any())
