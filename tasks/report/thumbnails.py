"""Images inside the page: small ones as data URIs, so that it needs no other file."""

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from graft.data.on_disk import in_memory
from graft.data.split import Split
from tasks.datasets.card import contact_sheet, shown_of_class

_LARGEST = 64
"""Pixels of an image's side at most: a page of many images has to stay small."""

_CLASSES = 12
"""Rows of a contact sheet at most."""


def thumbnail(image: Tensor) -> str:
    """One image (C, H, W) uint8, grey or colour, as the `src` of an image."""
    pixels = image.permute(1, 2, 0).numpy()
    return _data_uri(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels, side=max(pixels.shape[:2]))


def sheet(split: Split) -> str:
    """The contact sheet of a split as the `src` of an image: a row per class, of the first classes if there are
    many."""
    classes, labels = split.classes[:_CLASSES], split.labels.numpy()
    few = split.take(torch.from_numpy(np.concatenate([shown_of_class(labels, k) for k in range(len(classes))])))
    images = in_memory(few.images).numpy()
    return _data_uri(contact_sheet(images, few.labels.numpy(), classes), side=max(images.shape[2:]))


def strip(pictures: Split, columns: int = 10) -> str:
    """Images in their order, row by row, as the `src` of an image."""
    rows = np.arange(len(pictures)) // columns
    names = [str(row) for row in range(rows.max() + 1)]
    images = in_memory(pictures.images).numpy()
    return _data_uri(contact_sheet(images, rows, names, columns), side=max(images.shape[2:]))


def _data_uri(pixels: np.ndarray, side: int) -> str:
    """(H, W) or (H, W, 3) uint8 with images of that `side`: small ones as they are, large ones shrunk, as JPEG."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    kind = "png"
    if side > _LARGEST:
        kind = "jpeg"
        width, height = (max(1, round(length * _LARGEST / side)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format=kind, optimize=True, quality=80)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
