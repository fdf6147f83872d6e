"""Domains in arrays: NPZ files such as `train.npz`, and MNIST's own files (IDX)."""

import re
from pathlib import Path

import numpy as np

from tasks.common.errors import GraftError
from tasks.datasets.files.arrays import read_idx, read_npz
from tasks.datasets.layouts.domain import Domain, array_pictures, split_of, usable

_IDX_NAME = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
_IDX_SPLITS = {"train": "train", "t10k": "test", "test": "test"}


def is_npz(names: list[str]) -> bool:
    """Whether files with these names are a domain in NPZ files."""
    return any(name.endswith(".npz") for name in names)


def open_npz(domain: Domain, folder: Path, names: list[str]) -> None:
    """Read `train.npz`, `val.npz` and `test.npz`, as far as they exist."""
    domain.layout = "npz"
    for name in sorted(names, key=lambda name: (split_of(name.removesuffix(".npz")) != "train", name)):
        path = f"{domain.path}/{name}"
        if not name.endswith(".npz") or not usable(domain, folder, folder / name):
            continue
        if (split := split_of(name.removesuffix(".npz"))) is None:
            domain.add_fault(path, "not a split; valid: train.npz, val.npz, test.npz")
            continue
        try:
            images, labels, classes = read_npz(folder / name)
        except GraftError as error:
            for problem in error.problems:
                domain.add_fault(path, problem)
            continue
        if domain.classes and classes != domain.classes:
            domain.add_fault(path, f"class_names {classes} differ from those of train.npz, {domain.classes}")
            continue
        domain.classes = classes
        domain.splits[split] = array_pictures(path, images, labels)


def is_idx(names: list[str]) -> bool:
    """Whether files with these names are a domain in IDX files."""
    return any(_IDX_NAME.fullmatch(name) for name in names)


def open_idx(domain: Domain, folder: Path, names: list[str]) -> None:
    """Read `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and those of the test split, gzipped or not."""
    domain.layout = "idx"
    found: dict[str, dict[str, np.ndarray]] = {"train": {}, "test": {}}
    paths: dict[str, str] = {}
    for name in names:
        if (match := _IDX_NAME.fullmatch(name)) and usable(domain, folder, folder / name):
            split, kind = _IDX_SPLITS[match[1]], match[2]
            try:
                found[split][kind] = read_idx(folder / name, dimensions=3 if kind == "images" else 1)
                paths.setdefault(split, f"{domain.path}/{name}")
            except GraftError as error:
                domain.add_fault(f"{domain.path}/{name}", "; ".join(error.problems))
    if domain.faults:
        return
    for split, arrays in found.items():
        if arrays and len(arrays) < 2:
            domain.add_fault(paths[split], f"the {split} split needs both its images and its labels")
        elif arrays and len(arrays["images"]) != len(arrays["labels"]):
            counts = f"{len(arrays['images'])} images and {len(arrays['labels'])} labels"
            domain.add_fault(paths[split], f"the {split} split has {counts}")
        elif arrays:
            labels = arrays["labels"].astype(np.int64)
            domain.splits[split] = array_pictures(paths[split], arrays["images"], labels)
    largest = max((int(split.labels.max(initial=-1)) for split in domain.splits.values()), default=-1)
    domain.classes = [str(label) for label in range(largest + 1)]
