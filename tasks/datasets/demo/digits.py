"""Demo data without a download: digits drawn from fonts (source) and real handwritten digits (target).

The bytes depend only on this code: integers only, NumPy's frozen random stream, no compression. So a fresh clone
renders exactly the data that `data.dvc` names, on any processor, Python or NumPy.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from tasks.common.files import new_folder
from tasks.common.npz import save_npz
from tasks.datasets.demo.glyphs import CANVAS, FONTS, GLYPH, digit_masks

SIZE = 16
"""Height and width of a rendered digit, in pixels."""
PER_GLYPH = 60
"""Images per digit and font: 60 x 20 fonts x 10 digits = 12,000."""
TEST_PER_CLASS = 60
"""Handwritten digits per class in the target's test split: 600 of the 1,797."""

HALF_STROKES = (4, 5, 6, 7, 8)
"""Half of each stroke width drawn, in cells of a digit that is 64 cells high."""
_SAMPLES = 4  # a pixel is the mean of 4 x 4 samples
_ONE = 1 << 12  # fixed point: coordinates are multiples of 1/4096 cell
_CLASSES = np.array([str(digit) for digit in range(10)])


def make_demo(folder: Path, progress: Callable[[str], None] | None = None) -> None:
    """Write source/train.npz (12,000 rendered digits) and target/{train,test}.npz (1,197 and 600 handwritten ones).

    `folder` is created or replaced at once, when all is written. `progress` receives lines that report progress.

    Raises:
        GraftError: a font is missing.
    """
    say = progress or (lambda _line: None)
    say("rendering the demo's digits")
    source = render_digits(say)
    with new_folder(folder) as beside:
        _save(beside / "source" / "train.npz", *source)
        for split, pictures in handwritten_digits().items():
            _save(beside / "target" / f"{split}.npz", *pictures)


def _save(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    save_npz(path, images=images, labels=labels, class_names=_CLASSES)


def handwritten_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """scikit-learn's digits as train and test: images (N, 8, 8) uint8 and labels (N,) each.

    They keep their own size: an experiment chooses how they are resized (`prepare.image_size`). The test split is
    fixed: 60 per class.
    """
    digits = load_digits()
    grey_levels = digits.images.astype(np.int64)  # 0..16
    images = ((grey_levels * 255 + 8) // 16).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    random = np.random.RandomState(1)
    test = np.zeros(len(labels), dtype=bool)
    for digit in range(10):
        test[random.permutation(np.flatnonzero(labels == digit))[:TEST_PER_CLASS]] = True
    return {"train": (images[~test], labels[~test]), "test": (images[test], labels[test])}


def render_digits(say: Callable[[str], None]) -> tuple[np.ndarray, np.ndarray]:
    """White digits on black: images (12000, 16, 16) uint8 and labels (12000,), each class equally often.

    Size, proportions, position, slant, stroke width, brightness and noise vary.
    """
    random = np.random.RandomState(0)
    images, labels = [], []
    for done, font in enumerate(FONTS):
        strokes = _stroke_variants(digit_masks(font))
        which = np.tile(np.arange(10, dtype=np.int64), PER_GLYPH)
        masks = strokes[_integers(random, 0, len(HALF_STROKES) - 1, len(which)), which]
        images.append(_draw(masks, random))
        labels.append(which)
        say(f"rendered {(done + 1) * len(which):,} of {len(FONTS) * len(which):,} digits")
    return np.concatenate(images), np.concatenate(labels)


def _integers(random: np.random.RandomState, low: int, high: int, *shape: int) -> np.ndarray:
    """Integers from `low` to `high`, both included."""
    return random.randint(low, high + 1, size=shape, dtype=np.int64)


def _stroke_variants(masks: np.ndarray) -> np.ndarray:
    """Masks (10, S, S) of one font drawn with about each of HALF_STROKES: (5, 10, S, S)."""
    boundary = masks & ~_grow(masks, -1)
    own = 2 * int(masks.sum()) // int(boundary.sum())  # twice half a stroke: area over the length of one side
    steps = [min(max((2 * half - own) // 2, -3), 5) for half in HALF_STROKES]
    return np.stack([_grow(masks, step) if step >= 0 else _thin(masks, -step) for step in steps])


def _thin(masks: np.ndarray, steps: int) -> np.ndarray:
    """Masks with thinner strokes; hairlines are kept, since thinning would break the digit."""
    thinned = _grow(masks, -steps)
    return np.asarray(thinned | (masks & ~_grow(thinned, steps + 1)))


def _grow(masks: np.ndarray, steps: int) -> np.ndarray:
    """Masks (..., S, S) thickened by `steps` cells on every side, or thinned if it is negative."""
    ink = masks if steps > 0 else ~masks
    for step in range(abs(steps)):
        rows = ink | np.roll(ink, 1, axis=-2) | np.roll(ink, -1, axis=-2)
        sides = rows if step % 2 else ink  # a square and a cross alternate: together nearly a disc
        ink = rows | np.roll(sides, 1, axis=-1) | np.roll(sides, -1, axis=-1)
    return np.asarray(ink if steps > 0 else ~ink)


def _draw(masks: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Each of masks (N, S, S) at a random size, slant and position: images (N, 16, 16) uint8."""
    n = len(masks)
    height = _integers(random, 12 * _SAMPLES, 15 * _SAMPLES, n, 1, 1)
    width_percent = _integers(random, 80, 125, n, 1, 1)
    slant = _integers(random, -_ONE // 4, _ONE // 4, n, 1, 1)
    shift_x, shift_y = _integers(random, -_SAMPLES * _ONE, _SAMPLES * _ONE, 2, n, 1, 1)  # at most a pixel
    soft = _integers(random, 0, 1, n, 1, 1) == 1
    ink = _integers(random, 190, 255, n, 1, 1)
    noise = _integers(random, 0, 16, n, 1, 1)

    place = (2 * np.arange(SIZE * _SAMPLES, dtype=np.int64) + 1 - SIZE * _SAMPLES) * (_ONE // 2)  # from the centre
    y = (place[None, :, None] - shift_y) * GLYPH // height
    x = (place[None, None, :] - shift_x) * (GLYPH * 100) // (height * width_percent) + slant * y // _ONE
    column, row = (np.clip(axis // _ONE + CANVAS // 2, 0, CANVAS - 1) for axis in (x, y))
    samples = masks[np.arange(n)[:, None, None], row, column].reshape(n, SIZE, _SAMPLES, SIZE, _SAMPLES)
    grey = samples.sum(axis=(2, 4), dtype=np.int64) * ink // _SAMPLES**2
    grain = _integers(random, -255, 255, 2, n, SIZE, SIZE).sum(axis=0) * noise // 255
    noisy: np.ndarray = np.clip(np.where(soft, _soften(grey), grey) + grain, 0, 255)
    return noisy.astype(np.uint8)


def _soften(pictures: np.ndarray) -> np.ndarray:
    """Blur images (N, H, W) with the kernel 1 2 1 along both axes; outside the image is black."""
    wide = np.pad(pictures, ((0, 0), (1, 1), (1, 1)))
    mixed = (wide[:, :, :-2] + 2 * wide[:, :, 1:-1] + wide[:, :, 2:]) // 4
    return np.asarray((mixed[:, :-2] + 2 * mixed[:, 1:-1] + mixed[:, 2:]) // 4)
