"""Small raw domains on disk, in every layout."""

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

DIGITS = ("zero", "one")


def pictures(n: int, *, seed: int = 0, size: int = 8) -> np.ndarray:
    """`n` different grey images (N, size, size)."""
    return np.random.RandomState(seed).randint(0, 256, size=(n, size, size), dtype=np.uint8)


def labels(n: int, classes: int = 2) -> np.ndarray:
    return np.arange(n, dtype=np.int64) % classes


def save_npz(path: Path, drawn: np.ndarray, classes: tuple[str, ...] = DIGITS, **replaced: np.ndarray) -> None:
    """Write an NPZ file of `drawn` with labels in turn; `replaced` are arrays to write instead."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"images": drawn, "labels": labels(len(drawn), len(classes)), "class_names": np.array(classes)}
    np.savez(path, **(arrays | replaced))


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an IDX file."""
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def save_idx(folder: Path, split: str, images: np.ndarray, *, compressed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in ((f"{split}-images-idx3-ubyte", images), (f"{split}-labels-idx1-ubyte", labels(len(images)))):
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


def save_pictures(folder: Path, tree: Mapping[str, np.ndarray], suffix: str = ".png") -> None:
    """Write the images (N, H, W[, C]) of each class folder of `tree`."""
    for place, images in tree.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / place / f"{number:03}{suffix}")


def good_project(root: Path) -> Path:
    """A project with valid data: source as NPZ, target as folders with a test split, and a data.dvc."""
    save_npz(root / "data/source/train.npz", pictures(20, seed=1))
    drawn = pictures(24, seed=2)
    tree = {"train/one": drawn[:8], "train/two": drawn[8:16], "test/one": drawn[16:20], "test/two": drawn[20:]}
    save_pictures(root / "data/target", tree)
    (root / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: data\n")
    return root
