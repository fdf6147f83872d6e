"""The data card: numbers and a contact sheet that describe a run's data.

Legend: N images, C channels, H W height and width, K classes.
"""

import math
from collections.abc import Sequence

import numpy as np

from tasks.common.npy import NpyReader
from tasks.datasets.card_file import ImageNumbers

_CHUNK = 1 << 22
"""Values counted at a time; NumPy uses eight bytes for each."""


def image_numbers(images: np.ndarray | NpyReader, sizes: np.ndarray) -> ImageNumbers:
    """Numbers of a packed part, for the card.

    Args:
        images: (N, C, H, W) uint8, N > 0.
        sizes: (N, 2) height and width before resizing.
    """
    mean, std = _channel_statistics(images)
    least, median, most = (
        (int(height), int(width))
        for height, width in (sizes.min(axis=0), np.sort(sizes, axis=0)[len(sizes) // 2], sizes.max(axis=0))
    )
    return ImageNumbers(median, least, most, images.shape[1], mean, std)


def class_counts(labels: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """How many of the labels (N,) each class has, by name."""
    counts = np.bincount(labels, minlength=len(classes))
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def duplicates(digests: Sequence[bytes]) -> int:
    """How many repeat an earlier one; `digests` are of what each image or text was before it was packed."""
    return len(digests) - len(set(digests))


def _channel_statistics(images: np.ndarray | NpyReader) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, from a histogram in integers: the same on every machine."""
    histograms = np.zeros((images.shape[1], 256), dtype=np.int64)
    rows = max(1, _CHUNK // math.prod(images.shape[1:]))
    for start in range(0, len(images), rows):
        part = images[start : start + rows]
        for channel, histogram in enumerate(histograms):
            histogram += np.bincount(part[:, channel].reshape(-1), minlength=256)
    means, deviations = [], []
    for histogram in histograms:
        levels = [(level, int(count)) for level, count in enumerate(histogram)]
        n, total = int(histogram.sum()), sum(level * count for level, count in levels)
        squares = sum(level * level * count for level, count in levels)
        means.append(round(total / n / 255, 6))
        deviations.append(round(math.sqrt(n * squares - total * total) / n / 255, 6))
    return tuple(means), tuple(deviations)


def contact_sheet(images: np.ndarray, labels: np.ndarray, classes: Sequence[str], per_class: int = 10) -> np.ndarray:
    """One row of images per class: (H, W) uint8 for grey images, (H, W, 3) for colour.

    The images are sampled evenly from each class, so they are the same every time. Grey lines separate them.

    Args:
        images: (N, C, h, w) uint8.
        labels: (N,) index into `classes`.
        classes: names of the K classes, top to bottom.
        per_class: images per row; the rest of the row stays empty if a class has fewer.
    """
    channels, height, width = images.shape[1:]
    sheet = np.full((channels, len(classes) * (height + 1) + 1, per_class * (width + 1) + 1), 128, dtype=np.uint8)
    for row in range(len(classes)):
        for column, place in enumerate(shown_of_class(labels, row, per_class)):
            top, left = row * (height + 1) + 1, column * (width + 1) + 1
            sheet[:, top : top + height, left : left + width] = images[place]
    return sheet[0] if channels == 1 else sheet.transpose(1, 2, 0)


def shown_of_class(labels: np.ndarray, label: int, most: int = 10) -> np.ndarray:
    """Indices of the images that a class's row of the contact sheet shows, sampled evenly; `labels` is (N,)."""
    members = np.flatnonzero(labels == label)
    shown = min(most, len(members))
    return members[np.arange(shown) * len(members) // max(1, shown)]
