"""The content of a domain's folder, whatever its layout; nothing is decoded yet, and problems are collected.

Legend: N images, C channels, H W height and width, K classes.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from tasks.datasets.limits import MOST_DEPTH, MOST_LABEL, too_large
from tasks.datasets.pictures import UnreadableError, convert

One = TypeVar("One")
TRAIN, VAL, TEST = "train", "val", "test"
SPLIT_NAMES = {TRAIN: TRAIN, "training": TRAIN, VAL: VAL, "valid": VAL, "validation": VAL, "dev": VAL, TEST: TEST}
"""Accepted names of a split, in upper or lower case, and the split that each means."""
MOST_CHARACTERS = 1 << 20
"""Longer texts are refused."""
_IN_DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")
_LITTER = {"Thumbs.db", "desktop.ini", "__MACOSX"}


class Fault(NamedTuple):
    """A problem with the data."""

    kind: str
    """Problems of one kind are listed together: layout, image, text, class, leak, budget."""
    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images of a split, not yet decoded."""

    names: list[str]
    """The path of each image, relative to the project's folder; with its [index] if it is in an array or a table."""
    labels: np.ndarray
    """(N,) int64, an index into the domain's classes."""
    read: Callable[[int, int], Image.Image]
    """`read(index, channels)` decodes one as grey or RGB; raises UnreadableError. Called from several threads."""
    groups: list[str] | None = None
    """The group of each (a patient, a video): one group is never in both training and test."""

    def __len__(self) -> int:
        return len(self.names)

    def __add__(self, other: "LabelledImages") -> "LabelledImages":
        """These, then those of another split."""
        here = len(self)

        def read(index: int, channels: int) -> Image.Image:
            return self.read(index, channels) if index < here else other.read(index - here, channels)

        groups = None if self.groups is None or other.groups is None else self.groups + other.groups
        return LabelledImages(self.names + other.names, np.concatenate([self.labels, other.labels]), read, groups)


@dataclass(frozen=True)
class LabelledTexts:
    """Labelled texts of a split."""

    names: list[str]
    """The place of each text: the file's path, relative to the project's folder, and the line."""
    labels: np.ndarray
    """(N,) int64, an index into the domain's classes."""
    texts: list[str]
    groups: list[str] | None = None
    """The group of each (a thread, an author): one group is never in both training and test."""

    def read(self, index: int) -> str:
        """One text.

        Raises:
            UnreadableError: it is empty, too long, or not valid Unicode.
        """
        text = self.texts[index]
        if not text:
            raise UnreadableError("no text")
        if len(text) > MOST_CHARACTERS:
            raise UnreadableError(f"too long: {len(text):,} characters, at most {MOST_CHARACTERS:,}")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UnreadableError("holds half of a surrogate pair, so it is not valid text")
        return text

    def __len__(self) -> int:
        return len(self.names)

    def __add__(self, other: "LabelledTexts") -> "LabelledTexts":
        """These, then those of another split."""
        groups = None if self.groups is None or other.groups is None else self.groups + other.groups
        labels = np.concatenate([self.labels, other.labels])
        return LabelledTexts(self.names + other.names, labels, self.texts + other.texts, groups)


@dataclass
class Domain:
    """The content of a domain's folder, as far as it could be read, and its problems."""

    path: str
    layout: str = ""
    """npz, idx, folders, manifest, parquet, texts, or texts without headings."""
    classes: list[str] = field(default_factory=list)
    splits: dict[str, "LabelledImages | LabelledTexts"] = field(default_factory=dict)
    """By name: train, and test if there is one."""
    faults: list[Fault] = field(default_factory=list)
    ignored: int = 0
    """Number of hidden files, and of files outside the class folders or missing from the table."""
    validation: Literal["", "joined to train", "taken as test"] = ""
    """How a validation split was used; empty if there was none."""

    @property
    def things(self) -> Literal["images", "texts"]:
        """The word for its content, in the plural."""
        return "texts" if self.layout.startswith("texts") else "images"

    def add_fault(self, path: str, problem: str) -> None:
        """Record a problem of the layout."""
        self.faults.append(Fault("layout", path, problem))

    def settle_validation(self) -> None:
        """Add a validation split to train, or use it as the test split: a run draws its own validation labels."""
        if VAL not in self.splits:
            return
        validation = self.splits.pop(VAL)
        if TEST in self.splits and TRAIN in self.splits:
            self.splits[TRAIN] += validation  # type: ignore[operator]  # a domain's splits are of one kind
            self.validation = "joined to train"
        else:
            self.splits[TEST] = validation
            self.validation = "taken as test"


def enter_listed(
    domain: Domain,
    listed: Mapping[str, Sequence[One]],
    label: Callable[[One], str],
    build: Callable[[list[One], np.ndarray], LabelledImages | LabelledTexts],
) -> None:
    """Set a domain's classes and splits from lists of images or texts, by split. A class that is not in train is a
    problem, and its images are left out.

    `label` returns the class of one of them, `build` makes a split from several and their labels (N,).
    """
    labels = {label(one) for of_split in listed.values() for one in of_split}
    if long := sorted(name for name in labels if len(name) > MOST_LABEL):
        what = f"characters of a label, {long[0][:30]!r}…"
        domain.add_fault(domain.path, too_large(what, len(long[0]), MOST_LABEL, "is it the column of the texts?"))
        return
    domain.classes = sorted({label(one) for one in listed.get(TRAIN, [])})
    index = {name: place for place, name in enumerate(domain.classes)}
    for split, of_split in listed.items():
        for name in sorted({label(one) for one in of_split} - index.keys()):
            fault = f"class {name!r} is in the {split} split but not in train"
            domain.faults.append(Fault("class", domain.path, fault))
        kept = [one for one in of_split if label(one) in index]
        domain.splits[split] = build(kept, np.array([index[label(one)] for one in kept], dtype=np.int64))


def array_pictures(path: str, images: np.ndarray, labels: np.ndarray) -> LabelledImages:
    """The images in an array (N, H, W) or (N, H, W, C) uint8, with labels (N,)."""

    def read(index: int, channels: int) -> Image.Image:
        pixels = images[index]
        return convert(Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels), channels)

    return LabelledImages([f"{path}[{index}]" for index in range(len(images))], labels, read)


def walk(domain: Domain, folder: Path, root: Path, depth: int = 0) -> Iterator[str]:
    """The files below `root`, at most `MOST_DEPTH` folders deep, as paths relative to the domain's `folder`."""
    if depth > MOST_DEPTH:
        domain.add_fault(f"{domain.path}/{root.relative_to(folder).as_posix()}", f"more than {MOST_DEPTH} folders deep")
        return
    for entry in root.iterdir():
        if hidden(entry.name):
            domain.ignored += 1
        elif usable(domain, folder, entry):
            if entry.is_dir():
                yield from walk(domain, folder, entry, depth + 1)
            else:
                yield entry.relative_to(folder).as_posix()


def split_of(name: str) -> str | None:
    """Which split a folder, file or word means, if any."""
    return SPLIT_NAMES.get(name.lower())


def hidden(name: str) -> bool:
    """Whether a file or folder is not data: hidden, or written by an operating system."""
    return name.startswith(".") or name in _LITTER


def usable(domain: Domain, folder: Path, path: Path) -> bool:
    """Refuse links to folders and out of the domain's folder; DVC's own links into its cache are allowed.

    Refuse also what is neither a file nor a folder (opening a pipe would block), and names that are not UTF-8.
    """
    if path.name != path.name.encode(errors="replace").decode():
        domain.add_fault(f"{domain.path}/{path.name!a}", "its name is not UTF-8; rename it")
        return False
    if not path.is_symlink():
        if path.is_file() or path.is_dir():
            return True
        domain.add_fault(f"{domain.path}/{path.relative_to(folder).as_posix()}", "neither a file nor a folder")
        return False
    if not path.is_dir() and is_inside(folder, path):
        return True
    name, goal = path.relative_to(folder).as_posix(), path.readlink()
    domain.add_fault(
        f"{domain.path}/{name}", f"a link to {goal}; only links to files in {domain.path} are followed: copy it in"
    )
    return False


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a path, with all links resolved, is inside the folder or in DVC's cache."""
    try:
        goal = path.resolve()
    except (OSError, RuntimeError):  # a link that points to itself
        return False
    return goal.is_relative_to(folder.resolve()) or bool(_IN_DVC_CACHE.search(goal.as_posix()))
