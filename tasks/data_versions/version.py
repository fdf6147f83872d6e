"""The flow's first step: compare `data/` with `data.dvc`, then fetch it, render it, or report what changed.

The demo is identified by its hash: `meta.demo` in data.dvc repeats the hash of the demo's data, so a data.dvc that was
updated to other data (even by `dvc add` itself, which keeps `meta`) no longer counts as the demo.
"""

import importlib.metadata
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.common.errors import PASSING_FAULT, GraftError
from tasks.common.files import write_text
from tasks.common.places import POINTER, RAW_DATA
from tasks.common.yaml_files import load_yaml
from tasks.data_versions.dvc_data import (
    NO_CHANGES,
    Changes,
    commit,
    compare,
    default_remote,
    directory_md5,
    present_md5,
    pull,
    restore,
)
from tasks.data_versions.half_filled import HALF, filling, take_back
from tasks.data_versions.pointer import recorded_md5

DEMO_LIBRARIES = ("numpy", "matplotlib", "fonttools", "scikit-learn")

ATTEMPTS = 5
"""How often versioning is tried while data/ keeps changing."""

OnLine = Callable[[str], None]


class DataRefused(GraftError):  # noqa: N818  (named as it should read in a log)
    """New data has problems; data.dvc is unchanged."""


class RestlessError(GraftError):
    """Another process keeps writing to data/."""

    ends_with = PASSING_FAULT


@dataclass(frozen=True)
class DataStatus:
    """How data/ compares with data.dvc."""

    state: Literal["unchanged", "not in cache", "changed", "missing", "unversioned"]
    """unversioned: data/ exists without data.dvc; missing: data/ does not exist."""
    changes: Changes = NO_CHANGES


@dataclass(frozen=True)
class DataVersion:
    """The version of the data that a run uses, and how it was put in place."""

    md5: str
    """The hash in data.dvc; it ends in `.dir`, since it is that of a folder."""
    what: Literal["unchanged", "restored", "pulled", "made", "committed", "updated"]
    """restored: from the cache; pulled: from the remote; made: the demo was rendered; committed: it was the recorded
    data but not in the cache; updated: new data was versioned."""
    changes: Changes = NO_CHANGES


def data_status(root: Path) -> DataStatus:
    """Compare data/ with data.dvc without changing anything.

    Raises:
        GraftError: data.dvc cannot be read, this is not a DVC project, or DVC is busy.
    """
    here, recorded = (root / RAW_DATA).exists(), (root / POINTER).exists()
    if not (here and recorded):
        return DataStatus("unversioned" if here else "missing")
    found = compare(root)
    return DataStatus("changed", found) if isinstance(found, Changes) else DataStatus(found)


def version_data(
    root: Path, update: bool = False, on_line: OnLine | None = None, check: Callable[[str], None] = lambda _md5: None
) -> DataVersion:
    """Put the data that data.dvc records in place, or with `update` record the data that is in place.

    `on_line` receives a line before each step that takes time. `check` is called with the hash of new data before it is
    recorded, and may refuse it by raising an error. If data/ changes after the check, it is checked again.

    Raises:
        GraftError: data/ changed and `update` is false; there is no data; the cache or the remote does not have it; the
            demo rendered here differs from the recorded one; or data/ keeps changing.
    """
    say = on_line or (lambda _line: None)
    if take_back(root):
        say(f"a killed run left data/ half-filled (moved to {HALF}); fetching it again")
    for _ in range(ATTEMPTS):
        if found := _version(root, update, say, check):
            return found
        say("data/ changed meanwhile; trying again")
    raise RestlessError(
        f"data/ changed during each of {ATTEMPTS} attempts to version it", "Run again when no process writes to it."
    )


def _version(root: Path, update: bool, say: OnLine, check: Callable[[str], None]) -> DataVersion | None:
    """One attempt of `version_data`; None if data/ changed meanwhile, in which case nothing is recorded."""
    status = data_status(root)
    if status.state == "missing":
        return DataVersion(recorded(root), _fetch(root, say))
    if status.state == "unchanged":
        return DataVersion(recorded(root), "unchanged")
    if status.state == "not in cache":
        md5 = recorded(root)
        say("putting data/ into DVC's cache")
        return DataVersion(md5, "committed") if commit(root, md5) else None
    if not update:
        raise GraftError(*_explain(status))
    md5 = present_md5(root)
    say("checking the new data")
    check(md5)
    say("versioning data/")
    return DataVersion(md5, "updated", status.changes) if commit(root, md5) else None


def version_demo(root: Path, on_line: OnLine | None = None) -> DataVersion:
    """Put the demo into a project without data: render it, version it, and mark data.dvc as the demo's.

    Raises:
        GraftError: the project has other data, or the recorded demo cannot be restored (see `version_data`).
    """
    from tasks.datasets.demo.digits import make_demo

    if (root / POINTER).exists() and _is_demo(root):
        return version_data(root, on_line=on_line)
    present = [str(name) for name in (RAW_DATA, POINTER) if (root / name).exists()]
    if present:
        raise GraftError(
            f"this project has data of its own ({' and '.join(present)}), which the demo would replace",
            "Move it away first, or make the demo in another folder.",
        )
    make_demo(root / RAW_DATA, on_line)
    md5 = present_md5(root)
    if not commit(root, md5):
        raise RestlessError(
            f"{root / RAW_DATA} changed while the demo was written to it",
            "Run again when no other process writes to it.",
        )
    write_text(root / POINTER, (root / POINTER).read_text(encoding="utf-8") + f"meta:\n  demo: {md5}\n")
    return DataVersion(md5, "made")


def _explain(status: DataStatus) -> tuple[str, str]:
    if status.state == "unversioned":
        return "data/ is not versioned: there is no data.dvc", "Version it with `graft run --update-data`."
    ways_out = "`graft run --update-data` versions it as it is; `dvc checkout data.dvc` restores the recorded data."
    return f"data/ differs from what data.dvc records: {status.changes}", ways_out


def _fetch(root: Path, say: OnLine) -> Literal["restored", "pulled", "made"]:
    """Put the missing data/ in place: from the remote, from the cache, or by rendering the demo."""
    expected = recorded(root)
    if remote := default_remote(root):
        say(f"pulling data/ from the DVC remote {remote!r}")
        with filling(root):
            return "pulled" if pull(root, remote) else "restored"
    try:
        say("looking for data/ in DVC's cache")
        with filling(root):
            restore(root)
        return "restored"
    except GraftError:
        if not _is_demo(root):
            raise
    _make_demo(root, expected, say)
    return "made"


def _is_demo(root: Path) -> bool:
    meta = load_yaml(root / POINTER).get("meta")
    return isinstance(meta, dict) and meta.get("demo") == recorded_md5(root / POINTER)


def _make_demo(root: Path, expected: str, say: OnLine) -> None:
    """Render the demo next to data/; it becomes data/ and enters the cache only if it is the recorded one."""
    from tasks.datasets.demo.digits import make_demo

    beside = root / f".{RAW_DATA}.demo"
    try:
        make_demo(beside, say)
        made = directory_md5(beside)
        if made != expected:
            versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in DEMO_LIBRARIES)
            raise GraftError(
                f"the demo data rendered here has the hash {made}, but {POINTER} records {expected}; "
                f"made with Python {platform.python_version()}, {versions}. Nothing was kept.",
                "Install the locked versions (requirements.lock), or pull the data from a DVC remote"
                f" (`dvc remote add -d NAME URL`). To use the demo rendered here instead, remove {POINTER}"
                " and run `graft data demo`.",
            )
        beside.rename(root / RAW_DATA)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    commit(root, expected)


def recorded(root: Path) -> str:
    """The hash of the data that the project records.

    Raises:
        GraftError: it records none.
    """
    if not (root / POINTER).exists():
        raise GraftError(
            f"there is no data: neither {RAW_DATA}/ nor {POINTER} is in {root}",
            f"Render the demo with `graft data demo`, or put your own data into {RAW_DATA}/ and run"
            " `graft run --update-data`.",
        )
    return recorded_md5(root / POINTER)
