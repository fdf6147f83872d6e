"""Checks the data in one pass: every image or text is read once, every problem is reported.

The prepare stage uses the images decoded in this pass; `graft data check` only reports.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from tasks.common.errors import GraftError
from tasks.common.places import RAW_DATA
from tasks.datasets.class_map import read_class_map, rename_classes
from tasks.datasets.layouts.domain import TEST, TRAIN, Domain, Fault, LabelledImages, LabelledTexts
from tasks.datasets.layouts.manifest import Columns
from tasks.datasets.layouts.recognise import open_domain
from tasks.datasets.pictures import UnreadableError, digest
from tasks.datasets.text.digest import text_digest
from tasks.settings.prepare import NO_SOURCE, PrepareSettings

SHOWN = 20
"""Problems listed per kind; the rest are counted."""
_CHUNK = 64

Keep = Callable[[int, Image.Image], None]
"""Receives an index and its image; called from several threads, once per index."""

Keeper = Callable[[str, int], Keep]
"""Called with a part's name and its number of images before they are decoded; returns the function that receives
them."""


class Budget(NamedTuple):
    """Labels that trials draw from the target's training pool, per class."""

    labels_per_class: int
    """The largest number of `label_budgets`; 0 if they hold only `all`."""
    of_all: bool = False
    """Whether `label_budgets` holds `all`."""


@dataclass(frozen=True)
class Part:
    """The images or texts of one part: source, pool (the target's training images) or test (the target's)."""

    domain: Domain
    names: list[str]
    labels: np.ndarray
    """(N,) int64, an index into the domain's classes."""
    digests: list[bytes]
    """One per image (of its pixels) or text (of its words); empty if it cannot be read."""
    sizes: np.ndarray
    """(N, 2) height and width of each image before resizing; (N, 1) number of characters of each text."""
    rows: np.ndarray
    """(N,) the position of each in the split it was decoded from: the `index` that `Keep` received."""
    groups: list[str] | None
    """The group of each, if a group column is set."""
    texts: list[str] | None = None
    """The texts; None for images."""

    def take(self, chosen: np.ndarray) -> "Part":
        """The images where `chosen` (N,) bool is true."""
        places = np.flatnonzero(chosen)
        return Part(
            self.domain,
            [self.names[place] for place in places],
            self.labels[chosen],
            [self.digests[place] for place in places],
            self.sizes[chosen],
            self.rows[chosen],
            [self.groups[place] for place in places] if self.groups else None,
            None if self.texts is None else [self.texts[place] for place in places],
        )


@dataclass
class Examined:
    """What the pass over all images or texts found."""

    parts: dict[str, Part] = field(default_factory=dict)
    """By name: source, pool, test; those that could be opened."""
    has_made_test: bool = False
    """Whether the target has no test split of its own, so that a share of its images became the test part."""
    faults: list[Fault] = field(default_factory=list)
    skipped: dict[str, list[Fault]] = field(default_factory=dict)
    """By part (source, pool, test): unreadable images or texts that are left out, as `on_error: skip` asks."""


def check_data(project: Path, settings: PrepareSettings, budget: Budget | None = None) -> list[Fault]:
    """Every problem of the data: layouts, images, classes, leaks, too few labels for `budget` (None: not checked).

    Raises:
        GraftError: `settings` name folders outside the project's data folder.
    """
    return examine(project, settings, budget).faults


def summarise(faults: list[Fault]) -> list[str]:
    """One line per problem, grouped by kind; the first 20 of each kind and the number of the others."""
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
    keeper: Keeper | None = None,
    places: Mapping[str, Path | None] | None = None,
) -> Examined:
    """Open both domains, decode every image, find every problem.

    `places` gives the folder that a domain's path (source, target) is relative to, where it is not the project's;
    None: the domain does not exist yet, which is then not a problem.

    Raises:
        GraftError: `settings` name folders outside the project's data folder.
    """
    _require_inside_data(project, settings)
    places = dict(places or {}) | ({"source": None} if settings.source == NO_SOURCE else {})
    source, target = _open(project, settings, places)
    found = Examined(faults=[*source.faults, *target.faults])
    _add_part(found, "source", source, TRAIN, settings, keeper)
    _add_target(found, target, settings, keeper)
    for name, part in found.parts.items():
        found.faults += _class_faults(name, part)
    found.faults += [*_leaks(found.parts, _groups_of_source(found, settings)), *_budget_faults(found.parts, budget)]
    return found


def raw_test_pictures(project: Path, settings: PrepareSettings) -> Iterator[Image.Image]:
    """The images of the test part as they were before packing, in packed order.

    Raises:
        GraftError: the data has problems.
    """
    target = _open_target(project, settings)
    found = Examined(faults=list(target.faults))
    _add_target(found, target, settings, None)
    if found.faults or "test" not in found.parts:
        raise GraftError(summarise(found.faults) or f"{settings.target}: no test images")
    pictures = target.splits[TRAIN if found.has_made_test else TEST]
    assert isinstance(pictures, LabelledImages)
    return (pictures.read(row, settings.channels) for row in found.parts["test"].rows)


def _add_target(found: Examined, target: Domain, settings: PrepareSettings, keeper: Keeper | None) -> None:
    _add_part(found, "pool", target, TRAIN, settings, keeper)
    _add_part(found, "test", target, TEST, settings, keeper)
    if "pool" in found.parts and "test" not in found.parts and not target.faults:
        pool = found.parts["pool"]
        leaders, learned = together(pool.digests, pool.groups), _groups_of_source(found, settings)
        barred = {leader for leader, group in zip(leaders, pool.groups or (), strict=False) if group in learned}
        held = hold_out(pool.labels, leaders, settings.test_fraction, settings.seed, barred)
        found.parts |= {"pool": pool.take(~held), "test": pool.take(held)}
        found.has_made_test = True


def _add_part(
    found: Examined, name: str, domain: Domain, split: str, settings: PrepareSettings, keeper: Keeper | None
) -> None:
    if split not in domain.splits:
        return
    part, unreadable = _read(name, domain, domain.splits[split], settings, keeper)
    if settings.on_error == "skip" and unreadable:
        found.skipped[name] = unreadable
        part = part.take(np.array([bool(digest_) for digest_ in part.digests]))
    else:
        found.faults += unreadable
    found.parts[name] = part


def _open(project: Path, settings: PrepareSettings, places: Mapping[str, Path | None]) -> tuple[Domain, Domain]:
    place, target_place = places.get("source", project), places.get("target", project)
    group, of_source = settings.source_group_column, bool(settings.source_group_column)
    if not group and place and _is_one_table(place, settings):
        group = settings.target_group_column
    columns = Columns(
        settings.source_domain, settings.source_label_column, group, settings.source_text_column, every_group=of_source
    )
    source = open_domain(place, settings.source, columns) if place else Domain(settings.source)
    target = _open_target(target_place, settings) if target_place else Domain(settings.target)
    rename_classes(source, read_class_map(project, settings.class_map), target.classes)
    return source, target


def _is_one_table(place: Path, settings: PrepareSettings) -> bool:
    """Whether both domains are rows of one table, so that a group's name means the same in both."""
    return _in_one_folder(settings) and not (place / settings.source / settings.source_domain).is_dir()


def _in_one_folder(settings: PrepareSettings) -> bool:
    return PurePosixPath(settings.source) == PurePosixPath(settings.target)


def _open_target(project: Path, settings: PrepareSettings) -> Domain:
    group, text = settings.target_group_column, settings.target_text_column
    columns = Columns(settings.target_domain, settings.target_label_column, group, text)
    return open_domain(project, settings.target, columns)


def _keep_nothing(_index: int, _image: Image.Image) -> None:
    pass


def _require_inside_data(project: Path, settings: PrepareSettings) -> None:
    data = (project / RAW_DATA).resolve()
    problems = []
    for key in ("source", "target"):
        value = getattr(settings, key)
        if key == "source" and value == NO_SOURCE:
            continue
        parts = PurePosixPath(value).parts
        lexical = len(parts) > 1 and parts[:1] == RAW_DATA.parts and ".." not in parts
        if not lexical or not (project / value).resolve().is_relative_to(data):
            problems.append(f"params.yaml: prepare.{key}: {value!r} is not a folder inside data/, such as 'data/{key}'")
    domains = ((settings.source, settings.source_domain), (settings.target, settings.target_domain))
    if not problems and len({(PurePosixPath(path), domain) for path, domain in domains}) == 1:
        problems.append(
            f"params.yaml: prepare.source and prepare.target are both {settings.source!r}; name two folders, or one "
            "folder with a different source_domain and target_domain"
        )
    if problems:
        raise GraftError(problems)


def _read(
    name: str, domain: Domain, split: LabelledImages | LabelledTexts, settings: PrepareSettings, keeper: Keeper | None
) -> tuple[Part, list[Fault]]:
    if isinstance(split, LabelledTexts):
        return _read_texts(domain, split)
    return _decode(domain, split, settings.channels, keeper(name, len(split)) if keeper else _keep_nothing)


def _read_texts(domain: Domain, split: LabelledTexts) -> tuple[Part, list[Fault]]:
    """Read every text; the problems are those of texts that cannot be used."""
    sizes = np.array([[len(text)] for text in split.texts], dtype=np.int64).reshape(-1, 1)
    digests, faults = [b""] * len(split), []
    for index in range(len(split)):
        try:
            digests[index] = text_digest(split.read(index))
        except UnreadableError as error:
            faults.append(Fault("text", split.names[index], str(error)))
    rows = np.arange(len(split))
    return Part(domain, split.names, split.labels, digests, sizes, rows, split.groups, split.texts), faults


def _decode(domain: Domain, pictures: LabelledImages, channels: int, keep: Keep) -> tuple[Part, list[Fault]]:
    """Decode every image in threads (Pillow releases the GIL) and pass it to `keep`, or report why it cannot be."""
    n = len(pictures)
    sizes, rows = np.zeros((n, 2), dtype=np.int64), np.arange(n)
    part = Part(domain, pictures.names, pictures.labels, [b""] * n, sizes, rows, pictures.groups)

    def decode_some(start: int) -> list[Fault]:
        unreadable = []
        for index in range(start, min(start + _CHUNK, n)):
            try:
                image = pictures.read(index, channels)
            except UnreadableError as error:
                unreadable.append(Fault("image", pictures.names[index], str(error)))
                continue
            part.digests[index], part.sizes[index] = digest(image), (image.height, image.width)
            keep(index, image)
        return unreadable

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        faults = [fault for unreadable in threads.map(decode_some, range(0, n, _CHUNK)) for fault in unreadable]
    return part, faults


def together(digests: list[bytes], groups: list[str] | None) -> list[int]:
    """For each image the first image that must stay in the same split: an equal one, or one of its group."""
    from scipy.sparse import coo_array  # half a second to import, for those who only ask what a problem is called
    from scipy.sparse.csgraph import connected_components

    count, first = len(digests), dict[bytes | str, int]()
    pairs = [
        (place, first.setdefault(key, place))
        for place, keys in enumerate(zip(digests, groups, strict=True) if groups else ((d,) for d in digests))
        for key in keys
    ]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs), dtype=bool), (rows, columns)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    _, leaders, inverse = np.unique(component, return_index=True, return_inverse=True)
    return [int(leader) for leader in leaders[inverse]]


def hold_out(
    labels: np.ndarray, leaders: list[int], fraction: float, seed: int, barred: Collection[int] = ()
) -> np.ndarray:
    """Which images (N,) bool become the test split: `fraction` of each class, drawn by `seed` from all not `barred`.

    Images with one leader (see `together`) stay together, so that the split causes no leak; they count for the class
    of the leader. Each class keeps at least one leader on either side where possible.
    """
    random = np.random.RandomState(seed)
    firsts = np.unique(leaders)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = firsts[labels[firsts] == label]
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        free = [member for member in random.permutation(members).tolist() if member not in barred]
        chosen[free[: max(count, 0)]] = True
    return chosen[leaders]


def _class_faults(name: str, part: Part) -> Iterator[Fault]:
    where, classes = f"{part.domain.path} ({name})", part.domain.classes
    if len(classes) < 2:
        yield Fault("class", where, f"at least 2 classes are needed, found {len(classes)}: {classes}")
    for label in np.flatnonzero(np.bincount(part.labels, minlength=len(classes)) == 0):
        problem = f"class {classes[label]!r} is empty: it has no {part.domain.things[:-1]} in the {name} split"
        yield Fault("class", where, problem)


def _groups_of_source(found: Examined, settings: PrepareSettings) -> set[str]:
    """Groups of the source that the target may share: both come from one group column of one folder."""
    is_one = _in_one_folder(settings) and settings.source_group_column in ("", settings.target_group_column)
    source = found.parts.get("source")
    return set(source.groups or ()) if source and is_one else set()


def _leaks(parts: dict[str, Part], of_source: set[str]) -> Iterator[Fault]:
    """Images, texts or groups of the test split that are among the training data of either domain, too."""
    if "test" not in parts:
        return
    of_pool = set(parts["pool"].groups or ()) if "pool" in parts else set()
    for learned, split in ((of_pool, "training"), (of_source, "source's training")):
        for group in sorted(learned & set(parts["test"].groups or ())):
            yield Fault("leak", parts["test"].domain.path, f"group {group!r} is in the {split} and the test split")
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
            what = parts["test"].domain.things[:-1]
            yield Fault("leak", path, f"this {what} of the test split is in the {name} split too: {twin}")


def _budget_faults(parts: dict[str, Part], budget: Budget | None) -> Iterator[Fault]:
    if budget is None or "pool" not in parts:
        return
    pool, where = parts["pool"], f"{parts['pool'].domain.path} (pool)"
    counts = np.bincount(pool.labels, minlength=len(pool.domain.classes))
    for label in np.flatnonzero(counts > 0):
        name, count = pool.domain.classes[label], int(counts[label])
        has = f"class {name!r} has {count} label{'' if count == 1 else 's'}"
        if count < budget.labels_per_class:
            or_all = "" if budget.of_all else ", or use `all`, which takes what is there"
            fewer = f"fewer than the {budget.labels_per_class} of the largest of label_budgets; lower it{or_all}"
            yield Fault("budget", where, f"{has}, {fewer}")
        elif count < 2 and budget.of_all:
            yield Fault("budget", where, f"{has}; `all` needs two, so that the folds can test on one")
