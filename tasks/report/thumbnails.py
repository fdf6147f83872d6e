"""Pictures inside the page: small PNGs as data URIs, so that it needs no other file."""

import base64
import io

import numpy as np
from PIL import Image
from torch import Tensor

from graft.split import Split
from tasks.card import contact_sheet

_LARGEST = 48
"""Pixels of a picture's side at most: a page of many pictures has to stay small."""

_CLASSES = 12
"""Rows of a contact sheet at most."""


def thumbnail(image: Tensor) -> str:
    """One picture (C, H, W) uint8, grey or colour, as the `src` of an image."""
    pixels = image.permute(1, 2, 0).numpy()
    return _data_uri(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, side=max(pixels.shape[:2]))


def sheet(split: Split) -> str:
    """The contact sheet of a split as the `src` of an image: a row a class, of the first classes if there are many."""
    images, labels = split.images.numpy(), split.labels.numpy()
    return _data_uri(contact_sheet(images, labels, split.classes[:_CLASSES]), side=max(images.shape[2:]))


def _data_uri(pixels: np.ndarray, side: int) -> str:
    """(H, W) or (H, W, 3) uint8, made smaller if the pictures in it have a `side` above the largest."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if side > _LARGEST:
        size = [max(1, round(length * _LARGEST / side)) for length in image.size]
        image = image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
