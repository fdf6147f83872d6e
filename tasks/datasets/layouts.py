"""Read a domain's folder, whatever its layout: NPZ, IDX (MNIST's files), or folders of pictures.

The layout is recognised by looking. Nothing is decoded here; faults are collected, so that all are told at once.
Legend: N pictures, H W height and width, C channels, K classes.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tasks.datasets.arrays import read_idx, read_npz
from tasks.datasets.pictures import convert, read_picture
from tasks.errors import GraftError

TRAIN, TEST = "train", "test"
EXPECTED = (
    "train.npz [test.npz], train-images-idx3-ubyte and train-labels-idx1-ubyte [t10k-…] (.gz or not), "
    "or pictures in train/CLASS/ [test/CLASS/] or in CLASS/"
)
_IDX_SPLITS = {"train": TRAIN, "t10k": TEST, "test": TEST}
_IDX_NAME = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
_IN_DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")
_LITTER = {"Thumbs.db", "desktop.ini", "__MACOSX"}


class Fault(NamedTuple):
    """Something wrong with the data."""

    kind: str
    """Faults of a kind are listed together: layout, picture, class, leak, budget."""
    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures of a split, not yet decoded."""

    names: list[str]
    """Where each picture is: a path from the project's folder, for one in an array with its [index]."""
    labels: np.ndarray
    """(N,) int64, an index into the domain's classes."""
    read: Callable[[int, int], Image.Image]
    """`read(index, channels)` decodes one as grey or RGB; raises UnreadableError."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass
class Domain:
    """What a domain's folder holds."""

    path: str
    layout: str = ""
    """npz, idx or folders."""
    classes: list[str] = field(default_factory=list)
    splits: dict[str, Pictures] = field(default_factory=dict)
    """By name: train, and test if there is one."""
    faults: list[Fault] = field(default_factory=list)
    ignored: int = 0
    """Hidden files, and files that lie outside the classes' folders."""

    def add_fault(self, path: str, problem: str) -> None:
        """Collect a fault of the layout."""
        self.faults.append(Fault("layout", path, problem))


def open_domain(project: Path, path: str) -> Domain:
    """Recognise and read the folder `path` of a project; what is wrong with it is in `faults`, nothing is raised."""
    domain, folder = Domain(path), project / path
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    folders = [name for name in names if (folder / name).is_dir() and not _hidden(name)]
    if not folder.is_dir():
        domain.add_fault(path, f"there is no such folder; expected {EXPECTED}")
    elif any(name.endswith(".npz") for name in names):
        domain.layout = "npz"
        _open_npz(domain, folder)
    elif any(_IDX_NAME.fullmatch(name) for name in names):
        domain.layout = "idx"
        _open_idx(domain, folder, names)
    elif folders:
        domain.layout = "folders"
        _open_folders(domain, folder, folders)
    else:
        domain.add_fault(path, f"no data in a known layout; expected {EXPECTED}")
    if domain.layout and TRAIN not in domain.splits and not domain.faults:
        domain.add_fault(path, f"no training pictures; expected {EXPECTED}")
    return domain


def _open_npz(domain: Domain, folder: Path) -> None:
    for split in (TRAIN, TEST):
        path = f"{domain.path}/{split}.npz"
        if not ((folder / f"{split}.npz").exists() and _usable(domain, folder, folder / f"{split}.npz")):
            continue
        try:
            images, labels, classes = read_npz(folder / f"{split}.npz")
        except GraftError as error:
            for problem in error.problems:
                domain.add_fault(path, problem)
            continue
        if domain.classes and classes != domain.classes:
            domain.add_fault(path, f"class_names {classes} differ from those of train.npz, {domain.classes}")
            continue
        domain.classes = classes
        domain.splits[split] = _array_pictures(path, images, labels)


def _open_idx(domain: Domain, folder: Path, names: list[str]) -> None:
    found: dict[str, dict[str, np.ndarray]] = {TRAIN: {}, TEST: {}}
    paths: dict[str, str] = {}
    for name in names:
        if (match := _IDX_NAME.fullmatch(name)) and _usable(domain, folder, folder / name):
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
            domain.splits[split] = _array_pictures(paths[split], arrays["images"], labels)
    largest = max((int(split.labels.max(initial=-1)) for split in domain.splits.values()), default=-1)
    domain.classes = [str(label) for label in range(largest + 1)]


def _array_pictures(path: str, images: np.ndarray, labels: np.ndarray) -> Pictures:
    def read(index: int, channels: int) -> Image.Image:
        pixels = images[index]
        return convert(Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels), channels)

    return Pictures([f"{path}[{index}]" for index in range(len(images))], labels, read)


def _open_folders(domain: Domain, folder: Path, folders: list[str]) -> None:
    if TRAIN in folders and any(entry.is_dir() for entry in (folder / TRAIN).iterdir()):
        for name in folders:
            if name not in (TRAIN, TEST):
                domain.add_fault(f"{domain.path}/{name}", "not a split; valid: train, test")
        roots = {split: folder / split for split in (TRAIN, TEST) if split in folders}
    else:
        roots = {TRAIN: folder}
    files = {split: _files_by_class(domain, folder, root) for split, root in roots.items()}
    domain.classes = sorted(files[TRAIN])
    for split, by_class in files.items():
        for name in sorted(set(by_class) - set(domain.classes)):
            where = f"{domain.path}/{split}/{name}"
            domain.faults.append(Fault("class", where, f"class {name!r} is in the test split but not in train"))
        pairs = [(file, label) for label, name in enumerate(domain.classes) for file in by_class.get(name, [])]
        domain.splits[split] = _file_pictures(domain.path, folder, pairs)


def _file_pictures(path: str, folder: Path, pairs: list[tuple[str, int]]) -> Pictures:
    def read(index: int, channels: int) -> Image.Image:
        return read_picture(folder / pairs[index][0], channels)

    labels = np.array([label for _, label in pairs], dtype=np.int64)
    return Pictures([f"{path}/{name}" for name, _ in pairs], labels, read)


def _files_by_class(domain: Domain, folder: Path, root: Path) -> dict[str, list[str]]:
    """For every class folder of `root` its files, at any depth, as sorted paths from the domain's `folder`."""
    found: dict[str, list[str]] = {}
    for entry in sorted(root.iterdir()):
        if not entry.is_dir() or _hidden(entry.name):
            domain.ignored += 1
        elif _usable(domain, folder, entry):
            found[entry.name] = sorted(_walk(domain, folder, entry))
    return found


def _walk(domain: Domain, folder: Path, root: Path) -> Iterator[str]:
    for entry in root.iterdir():
        if _hidden(entry.name):
            domain.ignored += 1
        elif _usable(domain, folder, entry):
            if entry.is_dir():
                yield from _walk(domain, folder, entry)
            else:
                yield entry.relative_to(folder).as_posix()


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _LITTER


def _usable(domain: Domain, folder: Path, path: Path) -> bool:
    """Refuse links out of the domain's folder, and to folders; DVC's own links into its cache are no danger."""
    if not path.is_symlink():
        return True
    goal = path.resolve()
    inside = goal.is_relative_to(folder.resolve()) and not goal.is_dir()
    if inside or _IN_DVC_CACHE.search(goal.as_posix()):
        return True
    name = path.relative_to(folder).as_posix()
    domain.add_fault(
        f"{domain.path}/{name}", f"a link to {goal}; only links to files of {domain.path} are followed: copy it in"
    )
    return False
