"""One image: decode it, make it grey or colour, resize it. Every problem with it raises UnreadableError."""

import hashlib
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tasks.datasets.limits import LARGE_PIXELS, MOST_PIXELS

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # of TIFF
_ONE_AT_A_TIME = threading.Lock()
"""Held while a large image is decoded."""
_MODES = {1: "L", 3: "RGB"}


class UnreadableError(Exception):
    """An image that cannot be used; the message says why."""


def read_picture(file: Path | BinaryIO, channels: int) -> Image.Image:
    """Decode a file in one of `FORMATS`, rotated as EXIF says, as grey (1 channel) or RGB (3); the first frame only.

    Raises:
        UnreadableError: not an image, truncated, damaged, too large, or of a kind without a clear 8-bit meaning.
    """
    try:
        if isinstance(file, Path) and file.exists() and not file.is_file():
            raise UnreadableError("not a regular file: a pipe, a device or a folder")
        with Image.open(file, formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > MOST_PIXELS:
                raise UnreadableError(f"too large: {image.width} x {image.height}, at most {MOST_PIXELS:,} pixels")
            with _ONE_AT_A_TIME if pixels > LARGE_PIXELS else nullcontext():
                image.load()
                is_negative = _is_negative(image)
                ImageOps.exif_transpose(image, in_place=True)
                return convert(_negative(image) if is_negative else image, channels)
    except UnreadableError:
        raise
    except FileNotFoundError:
        raise UnreadableError("does not exist") from None
    except UnidentifiedImageError:
        raise UnreadableError(f"not an image ({', '.join(FORMATS)})") from None
    except Exception as error:  # damaged files make Pillow's readers raise nearly anything
        raise UnreadableError(f"cannot be decoded; it is probably truncated or damaged: {error}") from None


def convert(image: Image.Image, channels: int) -> Image.Image:
    """Convert to 8-bit grey (1) or RGB (3); transparent parts become white, 16-bit grey is scaled.

    Raises:
        UnreadableError: the values are floats or exceed 16 bits.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int32)
        if values.min() < 0 or values.max() > 65535:
            raise UnreadableError("32-bit values; save it with 8 or 16 bits")
        values += 128
        values //= 257
        image = Image.fromarray(values.astype(np.uint8))
    elif image.mode == "F":
        raise UnreadableError("float values; save it with 8 or 16 bits")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = _MODES[channels]
    return image if image.mode == mode else image.convert("RGB").convert(mode)


def _is_negative(image: Image.Image) -> bool:
    """Whether 0 means white: Pillow handles that for 8-bit TIFF files only."""
    tags = getattr(image, "tag_v2", {})
    return image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _negative(image: Image.Image) -> Image.Image:
    return Image.fromarray(65535 - np.asarray(image).astype(np.uint16))


def fit(image: Image.Image, size: int) -> np.ndarray:
    """A grey or RGB image stretched to (C, size, size) uint8."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def digest(image: Image.Image) -> bytes:
    """16 bytes that depend on the pixels only, not on the file's format, name or date."""
    return hashlib.blake2b(image.tobytes(), digest_size=16, key=f"{image.mode}{image.size}".encode()).digest()
