"""All that is wrong with the data, found in one pass: every picture is decoded once, every fault is told.

The prepare stage takes the decoded pictures from the same pass; `graft data check` only looks.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from tasks.datasets.layouts import TEST, TRAIN, Domain, Fault, Pictures, open_domain
from tasks.datasets.pictures import UnreadableError, digest
from tasks.errors import GraftError
from tasks.settings.prepare import PrepareSettings

SHOWN = 20
"""Faults of a kind that are listed; the rest are counted."""
_CHUNK = 64

Keep = Callable[[int, Image.Image], None]
"""Takes the picture of an index; called from several threads, once for each index."""


class Budget(NamedTuple):
    """Labels that a trial draws from the target's training pool, for each class."""

    labels_per_class: int
    validation_per_class: int


@dataclass(frozen=True)
class Part:
    """What is known of a part's pictures: source (the source's), pool (the target's for training), or test."""

    domain: Domain
    names: list[str]
    labels: np.ndarray
    """(N,) int64, an index into the domain's classes."""
    digests: list[bytes]
    """Of each picture's pixels; empty for one that cannot be read."""
    sizes: np.ndarray
    """(N, 2) height and width of each picture before it is resized."""

    def take(self, chosen: np.ndarray) -> "Part":
        """The pictures where `chosen` (N,) bool is true."""
        names = [self.names[index] for index in np.flatnonzero(chosen)]
        digests = [self.digests[index] for index in np.flatnonzero(chosen)]
        return Part(self.domain, names, self.labels[chosen], digests, self.sizes[chosen])


@dataclass
class Examined:
    """What a look at all pictures gave."""

    parts: dict[str, Part] = field(default_factory=dict)
    """By name: source, pool, test; those that could be opened."""
    held_out: np.ndarray | None = None
    """(N,) bool, which of the target's pictures became the test part, if the target came without one."""
    faults: list[Fault] = field(default_factory=list)


def check_data(project: Path, settings: PrepareSettings, budget: Budget | None = None) -> list[Fault]:
    """Every fault of the data: layouts, pictures, classes, leaks, and too few labels for `budget` (None: not asked).

    Raises:
        GraftError: `settings` name folders outside the project's data folder.
    """
    return examine(project, settings, budget).faults


def summarise(faults: list[Fault]) -> list[str]:
    """A line a fault, faults of a kind together; of each kind the first 20 and how many more there are."""
    lines: list[str] = []
    for kind, group in groupby(sorted(faults, key=lambda fault: fault.kind), key=lambda fault: fault.kind):
        same = list(group)
        lines += [str(fault) for fault in same[:SHOWN]]
        if len(same) > SHOWN:
            lines.append(f"… and {len(same) - SHOWN:,} more of this kind ({kind})")
    return lines


def examine(
    project: Path,
    settings: PrepareSettings,
    budget: Budget | None = None,
    keeper: Callable[[str, int], Keep] | None = None,
) -> Examined:
    """Open both domains, decode every picture, find every fault.

    `keeper(part, n)` is asked, before a part of n pictures is decoded, for the function that takes them.

    Raises:
        GraftError: `settings` name folders outside the project's data folder.
    """
    _require_inside_data(project, settings)
    source, target = open_domain(project, settings.source), open_domain(project, settings.target)
    found = Examined(faults=[*source.faults, *target.faults])
    for name, domain, split in (("source", source, TRAIN), ("pool", target, TRAIN), ("test", target, TEST)):
        if split in domain.splits:
            keep = keeper(name, len(domain.splits[split])) if keeper else _keep_nothing
            found.parts[name] = _decode(domain, domain.splits[split], settings.channels, keep, found.faults)
    if "pool" in found.parts and "test" not in found.parts and not target.faults:
        pool = found.parts["pool"]
        found.held_out = hold_out(pool.labels, pool.digests, settings.test_fraction, settings.seed)
        found.parts |= {"pool": pool.take(~found.held_out), "test": pool.take(found.held_out)}
    for name, part in found.parts.items():
        found.faults += _class_faults(name, part)
    found.faults += [*_leaks(found.parts), *_budget_faults(found.parts, budget)]
    return found


def _keep_nothing(_index: int, _image: Image.Image) -> None:
    pass


def _require_inside_data(project: Path, settings: PrepareSettings) -> None:
    data = (project / "data").resolve()
    problems = []
    for key in ("source", "target"):
        value = getattr(settings, key)
        parts = PurePosixPath(value).parts
        lexical = len(parts) > 1 and parts[0] == "data" and ".." not in parts
        if not lexical or not (project / value).resolve().is_relative_to(data):
            problems.append(f"params.yaml: prepare.{key}: {value!r} is not a folder inside data/, such as 'data/{key}'")
    if not problems and PurePosixPath(settings.source) == PurePosixPath(settings.target):
        problems.append(f"params.yaml: prepare.source and prepare.target are both {settings.source!r}")
    if problems:
        raise GraftError(problems)


def _decode(domain: Domain, pictures: Pictures, channels: int, keep: Keep, faults: list[Fault]) -> Part:
    """Decode every picture, in threads (Pillow decodes outside Python's lock); give each to `keep`, or add a fault."""
    n = len(pictures)
    part = Part(domain, pictures.names, pictures.labels, [b""] * n, np.zeros((n, 2), dtype=np.int64))

    def decode_some(start: int) -> list[Fault]:
        unreadable = []
        for index in range(start, min(start + _CHUNK, n)):
            try:
                image = pictures.read(index, channels)
            except UnreadableError as error:
                unreadable.append(Fault("picture", pictures.names[index], str(error)))
                continue
            part.digests[index], part.sizes[index] = digest(image), (image.height, image.width)
            keep(index, image)
        return unreadable

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        for unreadable in threads.map(decode_some, range(0, n, _CHUNK)):
            faults += unreadable
    return part


def hold_out(labels: np.ndarray, digests: list[bytes], fraction: float, seed: int) -> np.ndarray:
    """Which pictures (N,) bool become the test split: `fraction` of each class, drawn by `seed`.

    Equal pictures stay together, so that the split makes no leak; a class keeps at least one on either side if it can.
    """
    random = np.random.RandomState(seed)
    first = {value: index for index, value in reversed(list(enumerate(digests)))}
    leaders = np.array(sorted(first.values()), dtype=np.int64)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = leaders[labels[leaders] == label]
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        chosen[random.permutation(members)[: max(count, 0)]] = True
    return np.array([chosen[first[value]] for value in digests], dtype=bool)


def _class_faults(name: str, part: Part) -> Iterator[Fault]:
    where, classes = f"{part.domain.path} ({name})", part.domain.classes
    if len(classes) < 2:
        yield Fault("class", where, f"at least 2 classes are needed, there are {len(classes)}: {classes}")
    for label in np.flatnonzero(np.bincount(part.labels, minlength=len(classes)) == 0):
        yield Fault("class", where, f"class {classes[label]!r} is empty: it has no picture in the {name} split")


def _leaks(parts: dict[str, Part]) -> Iterator[Fault]:
    """The same picture among those that train, of either domain, and those that test."""
    if "test" not in parts:
        return
    trained = {
        digest_: (name, path)
        for name in ("source", "pool")
        if name in parts
        for digest_, path in zip(parts[name].digests, parts[name].names, strict=True)
        if digest_
    }
    for digest_, path in zip(parts["test"].digests, parts["test"].names, strict=True):
        if digest_ in trained:
            name, twin = trained[digest_]
            yield Fault("leak", path, f"this picture of the test split is in the {name} split too: {twin}")


def _budget_faults(parts: dict[str, Part], budget: Budget | None) -> Iterator[Fault]:
    if budget is None or "pool" not in parts:
        return
    pool, needed = parts["pool"], sum(budget)
    counts = np.bincount(pool.labels, minlength=len(pool.domain.classes))
    for label in np.flatnonzero((counts > 0) & (counts < needed)):
        yield Fault(
            "budget",
            f"{pool.domain.path} (pool)",
            f"class {pool.domain.classes[label]!r} has {counts[label]} labels, but the largest of label_budgets,"
            f" {budget.labels_per_class} + finetune.validation_per_class {budget.validation_per_class} need {needed}",
        )
