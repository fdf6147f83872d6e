"""Files of arrays: NPZ and IDX. Every problem with a file raises GraftError, never another exception.

Legend: N images, H W height and width, C channels, K classes.
"""

import gzip
import math
import zipfile
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import numpy as np

from tasks.common.errors import GraftError
from tasks.datasets.limits import MOST_ARRAY, MOST_LABEL, MOST_PICTURES, too_large

KEYS = ("images", "labels", "class_names")
_UINT8 = 0x08  # IDX: the code of unsigned bytes
_PART = 1 << 24
_INSTEAD = "store the images in folders or as Parquet, which are read piece by piece"


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Images (N, H, W) or (N, H, W, C) uint8, labels (N,) int64 and the K class names of an NPZ file.

    Raises:
        GraftError: not an NPZ file, or wrong keys, dtypes, shapes or labels; lists all of them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            problems = [problem for key in KEYS for problem in _claims(archive, key)]
    except Exception as error:  # damaged files make zipfile and NumPy raise nearly anything
        raise _damaged(error) from None
    if problems:
        raise GraftError(problems)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: np.asarray(file[key]) for key in KEYS if key in file}
    except Exception as error:
        raise _damaged(error) from None
    if missing := [key for key in KEYS if key not in arrays]:
        raise GraftError(f"missing keys: {', '.join(missing)}; required: {', '.join(KEYS)}")
    images, labels, names = (arrays[key] for key in KEYS)
    problems = [*_image_problems(images), *_name_problems(names), *_label_problems(labels, images, names)]
    if problems:
        raise GraftError(problems)
    return images, labels.astype(np.int64), [str(name) for name in names]


def _damaged(error: Exception) -> GraftError:
    words = " ".join(str(error).split())[:200] or type(error).__name__
    return GraftError(f"cannot be read as NPZ; it is probably truncated or damaged: {words}")


def _claims(archive: zipfile.ZipFile, key: str) -> Iterator[str]:
    """Problems in an array's header, checked before memory is allocated for it."""
    name = f"{key}.npy"
    if (found := archive.namelist().count(name)) != 1:
        if found:
            yield f"{key}: is in the archive {found} times"
        return
    entry = archive.getinfo(name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield f"{key}: compressed with a method that NumPy does not use ({entry.compress_type}); save it with np.savez"
        return
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            yield f"{key}: version {version[0]}.{version[1]} of NumPy's format; only 1.0 and 2.0 are supported"
            return
        shape, _, dtype = read(file)
    needed = math.prod(shape) * dtype.itemsize
    if needed > MOST_ARRAY:
        yield too_large(f"{key}: bytes of shape {shape}, {dtype}", needed, MOST_ARRAY, _INSTEAD)
    elif needed > entry.file_size:
        yield f"{key}: shape {shape} of {dtype} needs {needed:,} bytes, but the file holds {entry.file_size:,}"
    elif shape and shape[0] > MOST_PICTURES:
        yield too_large(f"{key}: images", shape[0], MOST_PICTURES)


def _image_problems(images: np.ndarray) -> Iterator[str]:
    if images.dtype != np.uint8:
        yield f"images: dtype {images.dtype}, must be uint8"
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3, 4))):
        yield f"images: shape {images.shape}, must be (N, H, W) or (N, H, W, C) with C = 1, 3 or 4"
    elif 0 in images.shape[1:]:
        yield f"images: shape {images.shape}, images without pixels"


def _name_problems(names: np.ndarray) -> Iterator[str]:
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) == 0:
        yield f"class_names: {names.dtype} of shape {names.shape}, must be the class names, (K,) str"
    elif (longest := max(map(len, names.tolist()))) > MOST_LABEL:
        yield too_large("class_names: characters of one", longest, MOST_LABEL)
    elif len(set(names.tolist())) < len(names):
        yield f"class_names: {names.tolist()}, a name is repeated"


def _label_problems(labels: np.ndarray, images: np.ndarray, names: np.ndarray) -> Iterator[str]:
    if labels.dtype.kind not in "iu":
        yield f"labels: dtype {labels.dtype}, must be integers"
    elif labels.shape != images.shape[:1]:
        yield f"labels: shape {labels.shape}, must be ({', '.join(map(str, images.shape[:1]))},), one per image"
    elif names.ndim == 1 and (wrong := np.flatnonzero((labels < 0) | (labels >= len(names)))).size:
        first = f"{labels[wrong[0]]} at [{wrong[0]}]"
        yield f"labels: {wrong.size:,} out of range, first {first}; valid: 0 to {len(names) - 1}"


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of an IDX file (MNIST's format), gzipped or not; 3 dimensions for images, 1 for labels.

    Raises:
        GraftError: truncated, damaged, or of another type or number of dimensions.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _read_idx(file, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise GraftError(f"cannot be read; it is probably truncated or damaged: {error}") from None


def _read_idx(file: gzip.GzipFile | BufferedReader, dimensions: int) -> np.ndarray:
    header = file.read(4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions or header[:4] != bytes([0, 0, _UINT8, dimensions]):
        raise GraftError(
            f"not an IDX file with {dimensions} dimensions of unsigned bytes: it starts with {header[:4].hex(' ')}"
        )
    shape = [int.from_bytes(header[place : place + 4], "big") for place in range(4, len(header), 4)]
    needed = math.prod(shape)
    if needed > MOST_ARRAY:
        raise GraftError(too_large(f"bytes of shape {shape}", needed, MOST_ARRAY, _INSTEAD))
    if shape[0] > MOST_PICTURES:
        raise GraftError(too_large("images", shape[0], MOST_PICTURES))
    if 0 in shape[1:]:
        raise GraftError(f"images without pixels: shape {shape}")
    content = bytearray()
    while len(content) <= needed and (part := file.read(min(_PART, needed + 1 - len(content)))):
        content += part
    if len(content) != needed:
        there = "more" if len(content) > needed else f"{len(content):,}"
        raise GraftError(f"truncated or damaged: shape {shape} needs {needed:,} bytes, {there} follow")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)
