"""What a domain's folder holds, whatever its layout; nothing is decoded yet, and problems are collected.

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
"""What a split may be called, in letters of either case, and which one it is."""
MOST_CHARACTERS = 1 << 20
"""Longer texts are refused."""
_IN_DVC_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")
_LITTER = {"Thumbs.db", "desktop.ini", "__MACOSX"}


class Fault(NamedTuple):
    """Something wrong with the data."""

    kind: str
    """Problems of a kind are listed together: layout, image, text, class, leak, budget."""
    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


@dataclass(frozen=True)
class LabelledImages:
    """Labelled images of a split, not yet decoded."""

    names: list[str]
    """Where each image is: a path from the project's folder, for one in an array or a table with its [index]."""
    labels: np.ndarray
    """(N,) int64, an index into the domain's classes."""
    read: Callable[[int, int], Image.Image]
    """`read(index, channels)` decodes one as grey or RGB; raises UnreadableError. Several threads call it."""
    groups: list[str] | None = None
    """What each belongs to (a patient, a video), of which no part may be tested on what was learned from another."""

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
    """Where each text is: the file's path from the project's folder, and its line."""
    labels: np.ndarray
    """(N,) int64, an index into the domain's classes."""
    texts: list[str]
    groups: list[str] | None = None
    """What each belongs to (a thread, an author), of which no part may be tested on what was learned from another."""

    def read(self, index: int) -> str:
        """One text; raises UnreadableError."""
        text = self.texts[index]
        if not text:
            raise UnreadableError("no text")
        if len(text) > MOST_CHARACTERS:
            raise UnreadableError(f"too long: {len(text):,} characters, at most {MOST_CHARACTERS:,}")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UnreadableError("half of a surrogate pair, so this is no text")
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
    """What a domain's folder holds."""

    path: str
    layout: str = ""
    """npz, idx, folders, manifest, parquet, texts, or texts without headings."""
    classes: list[str] = field(default_factory=list)
    splits: dict[str, "LabelledImages | LabelledTexts"] = field(default_factory=dict)
    """By name: train, and test if there is one."""
    faults: list[Fault] = field(default_factory=list)
    ignored: int = 0
    """Hidden files, and files that lie outside the classes' folders or in no list."""
    validation: Literal["", "joined to train", "taken as test"] = ""
    """What became of a validation split; empty if there was none."""

    @property
    def things(self) -> Literal["images", "texts"]:
        """What it holds, in the plural."""
        return "texts" if self.layout.startswith("texts") else "images"

    def add_fault(self, path: str, problem: str) -> None:
        """Collect a problem of the layout."""
        self.faults.append(Fault("layout", path, problem))

    def settle_validation(self) -> None:
        """A run draws its own validation labels, so a validation split is more to draw from, or the test split."""
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
    """Classes and splits of a list of images or texts, by split; a class that train lacks is a problem, and left out.

    `label` tells the class of one of them, `build` makes a split of several, with their labels (N,).
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
    """Images of an array (N, H, W) or (N, H, W, C) uint8."""

    def read(index: int, channels: int) -> Image.Image:
        pixels = images[index]
        return convert(Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels), channels)

    return LabelledImages([f"{path}[{index}]" for index in range(len(images))], labels, read)


def walk(domain: Domain, folder: Path, root: Path, depth: int = 0) -> Iterator[str]:
    """The files below `root`, at depths that someone may have meant, as paths from the domain's `folder`."""
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
    """Whether a file or folder is nobody's data."""
    return name.startswith(".") or name in _LITTER


def usable(domain: Domain, folder: Path, path: Path) -> bool:
    """Refuse links out of the domain's folder, and to folders; DVC's own links into its cache are no danger.

    Refuse also what is neither file nor folder (to open a pipe would wait for ever), and names that no text can hold.
    """
    if path.name != path.name.encode(errors="replace").decode():
        domain.add_fault(f"{domain.path}/{path.name!a}", "its name is not UTF-8: rename it")
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
        f"{domain.path}/{name}", f"a link to {goal}; only links to files of {domain.path} are followed: copy it in"
    )
    return False


def is_inside(folder: Path, path: Path) -> bool:
    """Whether a path, all links followed, leads to a file of the folder, or into DVC's cache."""
    try:
        goal = path.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        return False
    return goal.is_relative_to(folder.resolve()) or bool(_IN_DVC_CACHE.search(goal.as_posix()))
