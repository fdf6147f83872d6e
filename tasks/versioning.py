"""The flow's first step: is `data/` what `data.dvc` says? Fetch it, make it, or say what changed.

The demo is known by its hash: `meta.demo` in data.dvc repeats the hash of the demo's data, so a data.dvc that was
updated to other data (even by `dvc add` itself, which keeps `meta`) no longer counts as the demo.
"""

import hashlib
import importlib.metadata
import json
import logging
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.card import recorded_md5
from tasks.errors import GraftError
from tasks.files import write_text
from tasks.parameters import load_yaml

DATA = "data"
POINTER = "data.dvc"
SHOWN = 5
"""Files that a message names; the rest are counted."""
DEMO_LIBRARIES = ("numpy", "matplotlib", "fonttools", "scikit-learn")
TWO_WAYS_OUT = "`graft run --update-data` versions it as it is; `dvc checkout data.dvc` puts the recorded data back."

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Changes:
    """Files of data/ that differ from what data.dvc records, as paths from the project's folder, sorted."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    modified: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [
            f"{len(names):,} {kind} ({_first(names)})"
            for kind, names in (("added", self.added), ("removed", self.removed), ("modified", self.modified))
            if names
        ]
        return ", ".join(parts) or "which files, DVC cannot say: its list of them is not in the cache"


@dataclass(frozen=True)
class DataStatus:
    """How data/ stands to data.dvc."""

    state: Literal["unchanged", "not in cache", "changed", "missing", "unversioned"]
    """unversioned: data/ is there and data.dvc is not; missing: data/ is not there."""
    changes: Changes = Changes()


@dataclass(frozen=True)
class DataVersion:
    """The version of the data that a run uses, and what was done to have it in place."""

    md5: str
    """The hash in data.dvc: that of a whole folder, so it ends in `.dir`."""
    what: Literal["unchanged", "restored", "pulled", "made", "committed", "updated"]
    """restored: from the cache; pulled: from the remote; made: the demo was rendered; committed: it was the recorded
    data but not in the cache; updated: new data was versioned because that was asked."""
    changes: Changes = Changes()


def data_status(root: Path) -> DataStatus:
    """Compare data/ with data.dvc and change nothing; 0.15 s when nothing changed.

    Raises:
        GraftError: data.dvc cannot be read, this is no DVC project, or DVC is busy.
    """
    here, recorded = (root / DATA).exists(), (root / POINTER).exists()
    if not (here and recorded):
        return DataStatus("unversioned" if here else "missing")
    with _repository(root) as repo:
        # {} or {stage: [{"changed outs": {"data": "modified" | "deleted" | "not in cache" | …}}]}
        found = repo.status(targets=[str(root / POINTER)])
        if not found:
            return DataStatus("unchanged")
        if "not in cache" in str(found):
            return DataStatus("not in cache")
        return DataStatus("changed", _changes(repo))


def version_data(root: Path, update: bool = False, on_line: OnLine | None = None) -> DataVersion:
    """Put the data that data.dvc records in place, or with `update` record the data that is in place.

    `on_line` gets a line before each thing that takes time.

    Raises:
        GraftError: data/ changed and `update` is false; there is no data; the cache or the remote cannot give it; the
            demo rendered here differs from the recorded one.
    """
    say = on_line or (lambda _line: None)
    status = data_status(root)
    if status.state == "missing":
        return DataVersion(_recorded(root), _fetch(root, say))
    if status.state == "unchanged":
        return DataVersion(_recorded(root), "unchanged")
    if status.state == "not in cache":
        say("putting data/ into DVC's cache")
        _commit(root)
        return DataVersion(_recorded(root), "committed")
    if not update:
        raise GraftError(*_explain(status))
    say("versioning data/")
    _commit(root)
    return DataVersion(_recorded(root), "updated", status.changes)


def version_demo(root: Path, on_line: OnLine | None = None) -> DataVersion:
    """Have the demo in a project without data: render it, version it, and mark data.dvc as the demo's.

    Raises:
        GraftError: the project has other data, or the recorded demo cannot be had (see `version_data`).
    """
    from tasks.demo import make_demo

    if (root / POINTER).exists() and _is_demo(root):
        return version_data(root, on_line=on_line)
    present = [name for name in (DATA, POINTER) if (root / name).exists()]
    if present:
        raise GraftError(
            f"this project has data of its own ({' and '.join(present)}), which the demo would replace",
            "Move it away first, or make the demo in another folder.",
        )
    make_demo(root / DATA, on_line)
    _commit(root)
    md5 = recorded_md5(root / POINTER)
    write_text(root / POINTER, (root / POINTER).read_text(encoding="utf-8") + f"meta:\n  demo: {md5}\n")
    return DataVersion(md5, "made")


def _explain(status: DataStatus) -> tuple[str, str]:
    if status.state == "unversioned":
        return "data/ is not versioned: there is no data.dvc", "`graft run --update-data` versions it."
    return f"data/ is not what data.dvc records: {status.changes}", TWO_WAYS_OUT


def _fetch(root: Path, say: OnLine) -> Literal["restored", "pulled", "made"]:
    """data/ is not there: from the remote, from the cache, or rendered."""
    expected = _recorded(root)
    with _repository(root) as repo:
        remote = repo.config["core"].get("remote")
    if remote:
        return _pull(root, remote, say)
    try:
        say("looking for data/ in DVC's cache")
        with _repository(root) as repo, _naming_what_is_missing("DVC's cache", repo):
            repo.checkout(targets=[str(root / POINTER)])
            _require_whole(root, repo)
        return "restored"
    except GraftError:
        if not _is_demo(root):
            raise
    _make_demo(root, expected, say)
    return "made"


def _is_demo(root: Path) -> bool:
    meta = load_yaml(root / POINTER).get("meta")
    return isinstance(meta, dict) and meta.get("demo") == recorded_md5(root / POINTER)


def _pull(root: Path, remote: str, say: OnLine) -> Literal["restored", "pulled"]:
    say(f"pulling data/ from the DVC remote {remote!r}")
    # Without `verify` DVC takes whatever bytes the remote has under a hash, and calls them up to date.
    with _repository(root, {"remote": {remote: {"verify": True}}}) as repo:
        place = f"the DVC remote {remote!r} ({repo.config['remote'][remote]['url']})"
        with _naming_what_is_missing(place, repo):
            fetched = repo.pull(targets=[str(root / POINTER)])["stats"]["fetched"]
        _require_whole(root, repo)
    return "pulled" if fetched else "restored"


def _require_whole(root: Path, repo: Any) -> None:
    """Compare what came out of the cache with its hashes: DVC itself trusts whatever bytes lie there read-only.

    Damaged files are taken out of the cache, so that they can be pulled or rendered anew.
    """
    listing = Path(repo.cache.local.oid_to_path(_recorded(root)))
    recorded = {f"{DATA}/{file['relpath']}": file["md5"] for file in json.loads(listing.read_text(encoding="utf-8"))}
    damaged = sorted(name for name, md5 in recorded.items() if _md5_of_file(root / name) != md5)
    if damaged:
        for name in damaged:
            Path(repo.cache.local.oid_to_path(recorded[name])).unlink()
        shutil.rmtree(root / DATA)
        raise GraftError(
            f"DVC's cache holds damaged files for {POINTER}: {_first(damaged)}; they were removed from it",
            "Run it again to have them pulled or rendered anew.",
        )


def _make_demo(root: Path, expected: str, say: OnLine) -> None:
    """Render the demo beside data/; only if it is the recorded one it becomes data/ and goes into the cache."""
    from tasks.demo import make_demo

    beside = root / f".{DATA}.demo"
    try:
        make_demo(beside, say)
        made = directory_md5(beside)
        if made != expected:
            versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in DEMO_LIBRARIES)
            raise GraftError(
                f"the demo data rendered here has the hash {made}, but {POINTER} records {expected}; "
                f"made with Python {platform.python_version()}, {versions}. Nothing was kept.",
                "Install the locked versions (requirements.lock), or pull the data from a DVC remote"
                f" (`dvc remote add -d NAME URL`). To go on with what is rendered here: remove {POINTER}, then"
                " `graft data demo`.",
            )
        beside.rename(root / DATA)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    _commit(root)


def directory_md5(folder: Path) -> str:
    """DVC's hash of a folder (md5 over the sorted list of its files' md5 and names), found without DVC's cache."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    listing = [{"md5": _md5_of_file(folder / name), "relpath": name} for name in names]
    return hashlib.md5(json.dumps(listing).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _recorded(root: Path) -> str:
    if not (root / POINTER).exists():
        raise GraftError(
            f"there is no data: neither {DATA}/ nor {POINTER} is in {root}",
            f"`graft data demo` makes the demo's; or put your own into {DATA}/, then `graft run --update-data`.",
        )
    return recorded_md5(root / POINTER)


def _commit(root: Path) -> None:
    """What `dvc add data` does: data.dvc and the cache now hold data/ as it is."""
    with _repository(root) as repo:
        repo.add([str(root / DATA)])


def _changes(repo: Any) -> Changes:
    found = repo.data_status(granular=True)["uncommitted"]
    renamed = found.get("renamed", [])
    added = [*found.get("added", []), *(pair["new"] for pair in renamed)]
    removed = [*found.get("deleted", []), *(pair["old"] for pair in renamed)]
    return Changes(_files(added), _files(removed), _files(found.get("modified", [])))


def _files(names: list[str]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if name.startswith(f"{DATA}/") and not name.endswith("/")))


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


@contextmanager
def _repository(root: Path, config: dict[str, Any] | None = None) -> Iterator[Any]:
    """DVC's own object of this project, quiet; its errors become ours."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logger = logging.getLogger("dvc")
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL)  # no progress bars; what it would print is in the error
        repo = Repo(str(root), config=config)
        try:
            yield repo
        finally:
            repo.close()
    except (DvcException, OSError) as error:
        raise GraftError(f"{POINTER}: {error}", "`dvc status data.dvc` and `dvc doctor` tell more.") from None
    finally:
        logger.setLevel(level)


@contextmanager
def _naming_what_is_missing(place: str, repo: Any) -> Iterator[None]:
    """When the cache or the remote cannot give data/, name the files that it lacks or has wrong."""
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException:
        missing = _files(repo.data_status(granular=True)["not_in_cache"])
        raise GraftError(
            f"{place} cannot give the data that {POINTER} records: {_first(missing) or DATA + '/'} missing or damaged",
            "Push it again from a checkout that has it (`dvc push`); `dvc remote list` shows the remotes, and"
            " `dvc remote add -d NAME URL` sets the one to pull from.",
        ) from None
