"""`graft data add`: copy a folder, a file or a torchvision data set into `data/`, if it is valid, and version it.

It is first copied into a staging folder and checked there, so that `data/` never holds half of it.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.common.errors import GraftError
from tasks.common.files import write_text
from tasks.common.places import PARAMS, POINTER, RAW_DATA, STATE
from tasks.data_versions import torchvision_sets
from tasks.data_versions.copy_in import copy_in
from tasks.data_versions.dvc_data import commit, is_import, present_md5
from tasks.data_versions.take_in import label_budget
from tasks.data_versions.version import OnLine, RestlessError, data_status, version_data
from tasks.datasets.check import Examined, examine, summarise
from tasks.datasets.preview import PartLook, look
from tasks.settings.prepare import PrepareSettings
from tasks.settings.yaml_sections import read_section

Role = Literal["source", "target"]
STAGING = STATE / "adding"
DOWNLOADS = STATE / "torchvision"
"""Default folder of torchvision's downloads; they may be removed once a set is added."""


@dataclass(frozen=True)
class Card:
    """The result of a check: settings, a preview of each part, and classes with too few labels."""

    settings: PrepareSettings
    parts: dict[str, PartLook]
    """By name: source, pool, test; those that exist."""
    short_of_labels: list[str]
    """Classes that have fewer images than the label budgets of params.yaml ask for."""


def add(root: Path, role: Role, origin: str, *, downloads: Path | None = None, on_line: OnLine) -> Card:
    """Copy `origin` to the domain's folder in params.yaml, check it, and version `data/` with DVC.

    `origin` is a folder, a file, or `torchvision:NAME`; `downloads` is the folder of torchvision's own files.

    Raises:
        GraftError: it is not available, has problems (lists all of them), or the domain's folder is not empty. data/
            is then unchanged.
    """
    settings = read_section(root / PARAMS, "prepare", PrepareSettings)
    place = Path(getattr(settings, role))
    _require_place(root, role, place)
    _require_no_edits(root, place, on_line)
    _require_room(root, place)
    with _staging(root) as staging:
        if origin.startswith(torchvision_sets.PREFIX):
            name = origin.removeprefix(torchvision_sets.PREFIX)
            torchvision_sets.write(name, staging / place, downloads or root / DOWNLOADS, on_line)
        else:
            on_line(f"copying {origin}")
            copy_in(Path(origin), staging / place)
        on_line("checking the data")
        card = _card(root, settings, {role: staging})
        on_line("versioning data/")
        _put_in_place(root, staging / place, root / place)
    return card


def card_of(root: Path) -> Card:
    """Check the data in the project.

    Raises:
        GraftError: it has problems, or there is none.
    """
    settings = read_section(root / PARAMS, "prepare", PrepareSettings)
    card = _card(root, settings, {})
    if not card.parts:
        raise GraftError(
            f"there is no data: neither {settings.source} nor {settings.target} is in {root}",
            "Add data with `graft data add source PATH` and `graft data add target PATH`.",
        )
    return card


def _card(root: Path, settings: PrepareSettings, new: dict[Role, Path]) -> Card:
    """Check the new domains together with the existing ones.

    Raises:
        GraftError: the data has problems; lists all of them.
    """
    roles: tuple[Role, ...] = ("source", "target")
    roots = [*new.values(), root]
    places: dict[str, Path | None] = {
        role: new.get(role) or next((one for one in roots if (one / getattr(settings, role)).exists()), None)
        for role in roles
    }
    found = examine(root, settings, label_budget(root), places=places)
    short = [fault for fault in found.faults if fault.kind == "budget"]
    if faults := [fault for fault in found.faults if fault.kind != "budget"]:
        raise GraftError(summarise(faults), _way_out(found, new))
    return Card(settings, look(found, settings), summarise(short))


def _way_out(found: Examined, new: dict[Role, Path]) -> str:
    what = "Nothing was added: fix" if new else "Fix"
    unreadable = any(fault.kind == "image" for fault in found.faults)
    return f"{what} these{', or leave them out with prepare.on_error: skip in params.yaml' if unreadable else ''}."


def _require_place(root: Path, role: Role, place: Path) -> None:
    if place.parts[:1] != RAW_DATA.parts or ".." in place.parts or len(place.parts) < 2:
        raise GraftError(f"params.yaml: prepare.{role}: {str(place)!r} is not a folder inside data/")
    if (root / POINTER).exists() and is_import(root):
        raise GraftError(f"{POINTER} imports data/ from elsewhere", "Add the data at the origin that it names.")


def _require_no_edits(root: Path, place: Path, on_line: OnLine) -> None:
    """Require data/ to match data.dvc, except for files removed to make room: other edits would be versioned too."""
    if not (root / POINTER).exists():
        return
    status = data_status(root)
    edits = (*status.changes.added, *status.changes.modified, *status.changes.removed)
    made_room = status.changes.removed and all(Path(name).is_relative_to(place) for name in edits)
    if not (status.state == "changed" and made_room):
        version_data(root, on_line=on_line)


def _require_room(root: Path, place: Path) -> None:
    if (root / place).exists() and (not (root / place).is_dir() or any((root / place).iterdir())):
        raise GraftError(
            f"{place} exists already",
            f"To replace it, remove it first: rm -r {place} (DVC's cache keeps the version that {POINTER} records).",
        )


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """A temporary folder laid out like the project's, for the new domain only."""
    folder = root / STAGING
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(root: Path, new: Path, place: Path) -> None:
    """Move the new domain into data/ and version it; if that fails, undo both."""
    pointer = (root / POINTER).read_text(encoding="utf-8") if (root / POINTER).exists() else None
    had_data = (root / RAW_DATA).exists()
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        place.rmdir()  # it is empty
    shutil.move(new, place)
    try:
        if not commit(root, present_md5(root)):
            raise RestlessError(
                f"{root / RAW_DATA} changed while data was added to it", "Run again when no other process writes to it."
            )
    except BaseException:
        shutil.rmtree(place if had_data else root / RAW_DATA, ignore_errors=True)
        if pointer is None:
            (root / POINTER).unlink(missing_ok=True)
        else:
            write_text(root / POINTER, pointer)
        raise
