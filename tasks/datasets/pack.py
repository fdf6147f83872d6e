"""Packs images or texts in any layout into a few arrays, with a data card that describes them.

Legend: N images, C channels, H W height and width.
"""

import hashlib
import json
import shutil
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from tasks.common.files import new_folder, write_json
from tasks.common.npy import NpyReader, NpyWriter
from tasks.common.places import CARD, CODE, STATE
from tasks.common.yaml_files import load_yaml
from tasks.datasets.card import class_counts, duplicates, image_numbers
from tasks.datasets.card_file import DataCard, PartCard, TextNumbers
from tasks.datasets.check import Budget, Examined, Keep, Part, examine
from tasks.datasets.layouts.domain import Fault
from tasks.datasets.pack_texts import pack_texts
from tasks.datasets.pictures import fit
from tasks.settings.prepare import NO_SOURCE, PrepareSettings

PARTS = ("source", "pool", "test")
_ROWS = 4096
_AHEAD = STATE / "packed"
"""What the check of new data has packed, for the stage: so each image is decoded once. Named after all that it depends
on."""


def pack(
    project: Path, settings: PrepareSettings, data_md5: str, folder: Path, budget: Budget | None = None
) -> list[Fault]:
    """Write {source,pool,test} and card.json of a project into an empty folder; the same bytes every time.

    Returns:
        Every problem of the data; if there are any, what lies in the folder is of no use.
    """
    with ExitStack() as open_files:

        def keeper(part: str, n: int) -> Keep:
            shape = (n, settings.channels, settings.image_size, settings.image_size)
            (folder / part).mkdir()
            packed = open_files.enter_context(NpyWriter(folder / part / "images.npy", shape))
            return lambda index, image: packed.write(index, fit(image, settings.image_size))

        found = examine(project, settings, budget, keeper=keeper)
    if found.faults:
        return found.faults
    if settings.source == NO_SOURCE:
        found.parts["source"] = _nothing_like(found.parts["pool"])
    _choose_rows(folder, found)
    texts = pack_texts(folder, found.parts, settings)
    entries = {name: _finish(folder / name, found, name, texts.get(name)) for name in PARTS}
    write_json(folder / CARD.name, DataCard.of(data_md5, **entries).to_json())
    return []


def pack_ahead(project: Path, settings: PrepareSettings, data_md5: str, budget: Budget) -> list[Fault]:
    """Check data that is about to be versioned as `data_md5`, and keep it packed for the stage.

    Returns:
        Every problem of the data; if there are any, nothing is kept.
    """
    shutil.rmtree(project / _AHEAD, ignore_errors=True)
    with new_folder(project / _AHEAD) as ahead:
        folder = ahead / _name(project, settings, data_md5)
        folder.mkdir()
        if faults := pack(project, settings, data_md5, folder, budget):
            shutil.rmtree(folder)
    return faults


def take_packed(project: Path, settings: PrepareSettings, data_md5: str, folder: Path) -> bool:
    """Move what `pack_ahead` has kept into `folder`, if it is of this data, these settings and this code; it is removed
    in any case."""
    kept = project / _AHEAD / _name(project, settings, data_md5)
    is_there = kept.is_dir()
    for part in kept.iterdir() if is_there else ():
        shutil.move(part, folder / part.name)
    shutil.rmtree(project / _AHEAD, ignore_errors=True)
    return is_there


def _name(project: Path, settings: PrepareSettings, data_md5: str) -> str:
    code = (load_yaml(project / CODE).get("stages") or {}).get("prepare") if (project / CODE).exists() else None
    return hashlib.sha256(json.dumps([data_md5, asdict(settings), code], sort_keys=True).encode()).hexdigest()


def _nothing_like(pool: Part) -> Part:
    """An empty source for projects without one: no images or texts and no classes, in the pool's form."""
    domain = replace(pool.domain, path=NO_SOURCE, layout=NO_SOURCE, classes=[], ignored=0, validation="")
    return replace(pool.take(np.zeros(len(pool.labels), dtype=bool)), domain=domain, groups=None)


def _choose_rows(folder: Path, found: Examined) -> None:
    """Keep in each part's array (N, C, H, W) only its own images: without skipped ones, and with the pool divided if
    the target has no test split."""
    for name in reversed(PARTS):  # the test part may come from the pool's array
        if found.parts[name].texts is not None:
            continue
        rows = found.parts[name].rows
        made = (name == "source" and not len(rows)) or (name == "test" and found.has_made_test)
        images = NpyReader(folder / ("pool" if made else name) / "images.npy")
        if len(rows) == len(images):
            continue
        (folder / name).mkdir(exist_ok=True)
        beside = folder / name / "chosen.npy"
        with NpyWriter(beside, (len(rows), *images.shape[1:])) as part:
            for start in range(0, len(rows), _ROWS):
                part.write(start, images[rows[start : start + _ROWS]])
        beside.replace(folder / name / "images.npy")


def _finish(folder: Path, found: Examined, name: str, texts: TextNumbers | None) -> PartCard:
    """Write a part's labels and classes next to its packed images or texts; returns its entry in the card."""
    part = found.parts[name]
    domain, is_there = part.domain, len(part.labels) > 0
    np.save(folder / "labels.npy", part.labels, allow_pickle=False)
    write_json(folder / "classes.json", domain.classes)
    if part.groups and name != "test":
        groups = np.unique(part.groups, return_inverse=True)[1]
        np.save(folder / "groups.npy", groups.astype(np.int64), allow_pickle=False)
    with_images = is_there and part.texts is None
    return PartCard(
        n=len(part.labels),
        classes=class_counts(part.labels, domain.classes) if is_there else {},
        duplicates=duplicates(part.digests) if is_there else 0,
        kind=domain.things,
        path=domain.path,
        layout=domain.layout,
        split="all" if name == "source" else "held out" if found.has_made_test else "given",
        validation=domain.validation,
        ignored_files=domain.ignored,
        skipped=tuple(map(str, found.skipped.get("pool" if found.has_made_test else name, []))),
        images=image_numbers(NpyReader(folder / "images.npy"), part.sizes) if with_images else None,
        texts=texts,
    )
