"""Domains in folders of images: `CLASS/FILE`, or `SPLIT/CLASS/FILE`."""

from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.datasets.layouts.domain import (
    TRAIN,
    Domain,
    Fault,
    LabelledImages,
    hidden,
    split_of,
    usable,
    walk,
)
from tasks.datasets.pictures import read_picture


def open_folders(domain: Domain, folder: Path, folders: list[str]) -> None:
    """Read the images in `folders`, which are splits if one of them is `train` and contains folders itself."""
    domain.layout = "folders"
    splits = [name for name in folders if split_of(name) and holds_folders(folder / name)]
    has_training = any(split_of(name) == TRAIN for name in splits)
    if splits and not has_training and len(splits) == len(folders):
        there = ", ".join(splits)
        domain.add_fault(
            domain.path,
            f"found {there} but no training split, train/CLASS/… (if these folders are classes, rename them)",
        )
        return
    if has_training:
        roots: dict[str, Path] = {}
        for name in folders:
            split = split_of(name)
            if split is None:
                domain.add_fault(f"{domain.path}/{name}", "not a split; valid: train, val, test")
            elif split in roots:
                domain.add_fault(
                    f"{domain.path}/{name}", f"the {split} split is there twice; {roots[split].name} is one too"
                )
            else:
                roots[split] = folder / name
    else:
        roots = {TRAIN: folder}
    files = {split: _files_by_class(domain, folder, root) for split, root in roots.items()}
    domain.classes = sorted(files.get(TRAIN, {}))
    for split, by_class in files.items():
        for name in sorted(set(by_class) - set(domain.classes)):
            where = f"{domain.path}/{roots[split].name}/{name}"
            domain.faults.append(Fault("class", where, f"class {name!r} is in the {split} split but not in train"))
        by_label = [by_class.get(name, []) for name in domain.classes]
        labels = np.repeat(np.arange(len(by_label)), [len(files) for files in by_label])
        domain.splits[split] = file_pictures(domain.path, folder, list(chain(*by_label)), labels)


def holds_folders(folder: Path) -> bool:
    """Whether the folder contains folders, not counting hidden ones."""
    return any(entry.is_dir() and not hidden(entry.name) for entry in folder.iterdir())


def file_pictures(
    path: str, folder: Path, files: list[str], labels: np.ndarray, groups: list[str] | None = None
) -> LabelledImages:
    """Images of files with labels (N,); files are paths from `folder`, which is `path` of the project."""

    def read(index: int, channels: int) -> Image.Image:
        return read_picture(folder / files[index], channels)

    return LabelledImages([f"{path}/{name}" for name in files], labels, read, groups)


def _files_by_class(domain: Domain, folder: Path, root: Path) -> dict[str, list[str]]:
    """The files of each class folder in `root`, at any depth, as sorted paths relative to the domain's `folder`."""
    found: dict[str, list[str]] = {}
    for entry in sorted(root.iterdir()):
        if not entry.is_dir() or hidden(entry.name):
            domain.ignored += 1
        elif usable(domain, folder, entry):
            found[entry.name] = sorted(walk(domain, folder, entry))
    return found
