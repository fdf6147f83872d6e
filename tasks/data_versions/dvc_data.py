"""Queries and commands to DVC for `data/` and `data.dvc`, through the public methods of its `Repo` and its stages.

`tasks/data_versions/version.py` decides what to do with the answers.
"""

import hashlib
import json
import logging
import shutil
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.common.errors import AwayError, GraftError, of_the_disk
from tasks.common.places import POINTER, RAW_DATA
from tasks.common.urls import split_address, without_password
from tasks.data_versions.pointer import recorded_md5

SHOWN = 5
"""Files that a message names; the rest are counted."""


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
        return ", ".join(parts) or "DVC cannot say which files, since their list is not in its cache"


NO_CHANGES = Changes()


def compare(root: Path) -> Literal["unchanged", "not in cache"] | Changes:
    """How data/ differs from data.dvc; both must exist.

    Raises:
        GraftError: data.dvc cannot be read, this is not a DVC project, or DVC is busy.
    """
    from tasks.executor.dvc.dvc_large_folders import untouched_folders

    with _repository(root) as repo:
        (stage,) = repo.stage.load_file(str(root / POINTER))
        with untouched_folders([stage]):
            if not stage.status():
                return "unchanged"
        # That status also says "not in cache" for changed data; this one distinguishes the two.
        if not _is_of_data(repo.data_status()["uncommitted"]):
            return "not in cache"
        status = repo.data_status(granular=True)
    if f"{RAW_DATA}/" in status["not_in_cache"]:  # the list of recorded files is missing, too
        return NO_CHANGES
    found = status["uncommitted"]
    renamed = found.get("renamed", [])
    return Changes(
        added=_files([*found.get("added", []), *(pair["new"] for pair in renamed)]),
        removed=_files([*found.get("deleted", []), *(pair["old"] for pair in renamed)]),
        modified=_files(found.get("modified", [])),
    )


def present_md5(root: Path) -> str:
    """DVC's hash of the current data/; files that DVC knows are not read again."""
    with _repository(root) as repo:
        return str(_entry(repo, root).outs[0].get_hash().value)


def commit(root: Path, md5: str) -> bool:
    """Do what `dvc add data` does if data/ has the hash `md5` and keeps it meanwhile; returns whether it did.

    DVC's own command records whatever data/ holds at that moment, which may have changed since it was checked.
    """
    from dvc.exceptions import CacheLinkError

    from tasks.executor.dvc.dvc_lock_file import DvcFiles

    with _repository(root) as repo, repo.scm_context(quiet=True):
        stage = _entry(repo, root)
        (out,) = stage.outs
        repo.check_graph(stages=[stage])
        if out.get_hash().value != md5:
            return False
        with suppress(CacheLinkError):  # the data is in the cache; the files here stay copies
            stage.add_outs()
        if {out.hash_info.value, out.get_hash().value} != {md5}:
            return False
        if changed := DvcFiles(Path(repo.tmp_dir)).enter(stage, 0):
            repo.scm_context.track_file(str(changed))  # staged if the project sets core.autostage
    return True


def is_import(root: Path) -> bool:
    """Whether data/ is imported (`dvc import` or `dvc import-url`), according to data.dvc."""
    with _repository(root) as repo:
        (stage,) = repo.stage.load_file(str(root / POINTER))
        return bool(stage.is_import)


def update_import(root: Path) -> None:
    """Do what `dvc update data.dvc` does: fetch what the origin of data/ holds now, if data.dvc does not record it.

    Raises:
        GraftError: the origin cannot be reached or does not have the data.
    """
    with _repository(root) as repo:
        repo.update([str(root / POINTER)])


def origin_now(root: Path) -> dict[str, Any]:
    """What `dvc update data.dvc` would record about the origin of data/ now; nothing is fetched.

    Raises:
        GraftError: the origin cannot be reached or does not have the data.
    """
    with _repository(root) as repo:
        (dep,) = _entry(repo, root).deps
        dep.update()
        dep.save()
        return dict(dep.dumpd())


def default_remote(root: Path) -> str | None:
    """The name of the default remote, if one is set."""
    with _repository(root) as repo:
        name = repo.config["core"].get("remote")
        return str(name) if name else None


def restore(root: Path) -> None:
    """Restore data/ from the cache.

    Raises:
        GraftError: files are missing or damaged there; lists them.
    """
    with _repository(root) as repo, _naming_what_is_missing("DVC's cache", repo):
        repo.checkout(targets=[str(root / POINTER)])
        _require_whole(root, repo)


def pull(root: Path, remote: str) -> bool:
    """Restore data/ from the remote; returns whether anything was fetched that was not in the cache.

    Raises:
        GraftError: files are missing or damaged there; lists them.
    """
    # Without `verify` DVC accepts whatever bytes the remote has under a hash, and calls them up to date.
    with _repository(root, {"remote": {remote: {"verify": True}}}) as repo:
        url = str(repo.config["remote"][remote]["url"])
        with _naming_what_is_missing(f"the DVC remote {remote!r} ({without_password(url)})", repo, url):
            fetched = repo.pull(targets=[str(root / POINTER)])["stats"]["fetched"]
        _require_whole(root, repo)
    return bool(fetched)


def folder_from_cache(root: Path, md5: str, target: Path) -> None:
    """Copy a folder that a stage once made from DVC's cache, by its hash, into `target`, which must not exist.

    Raises:
        GraftError: the cache does not hold all of it.
    """
    with _repository(root) as repo:
        try:
            for name, oid in _listed(repo, md5).items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(repo.cache.local.oid_to_path(oid), target / name)
        except FileNotFoundError:
            raise GraftError("DVC's cache no longer holds the old data") from None


def changes_between(root: Path, before: str, after: str) -> Changes:
    """The files that differ between two recorded versions of data/; NO_CHANGES if the cache does not list both."""
    with _repository(root) as repo:
        try:
            old, new = _listed(repo, before), _listed(repo, after)
        except FileNotFoundError:
            return NO_CHANGES
    modified = {name for name in old.keys() & new.keys() if old[name] != new[name]}
    return Changes(*(_in_data(names) for names in (new.keys() - old.keys(), old.keys() - new.keys(), modified)))


def _in_data(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(f"{RAW_DATA}/{name}" for name in names))


def _listed(repo: Any, md5: str) -> dict[str, str]:
    """The files of a folder in DVC's cache, by name, with their hashes."""
    listing = Path(repo.cache.local.oid_to_path(md5))
    return {file["relpath"]: file["md5"] for file in json.loads(listing.read_text(encoding="utf-8"))}


def directory_md5(folder: Path) -> str:
    """DVC's hash of a folder (md5 over the sorted list of its files' md5 and names), computed without DVC."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    listing = [{"md5": _md5_of_file(folder / name), "relpath": name} for name in names]
    return hashlib.md5(json.dumps(listing).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _require_whole(root: Path, repo: Any) -> None:
    """Verify the hashes of what came from the cache: DVC itself trusts every read-only file there.

    Damaged files are removed from the cache, so that they can be pulled or rendered again.
    """
    listed = _listed(repo, recorded_md5(root / POINTER))
    recorded = {f"{RAW_DATA}/{name}": md5 for name, md5 in listed.items()}
    damaged = sorted(name for name, md5 in recorded.items() if _md5_of_file(root / name) != md5)
    if damaged:
        for name in damaged:
            Path(repo.cache.local.oid_to_path(recorded[name])).unlink(missing_ok=True)
        shutil.rmtree(root / RAW_DATA)
        raise GraftError(
            f"DVC's cache holds damaged files for {POINTER}: {_first(damaged)}; they were removed from it",
            "Run again to pull or render them again.",
        )


def _is_of_data(changes: dict[str, list[Any]]) -> bool:
    """Whether DVC's changes, listed per folder, include data/ (DVC leaves out what it cannot judge)."""
    return any(f"{RAW_DATA}/" in names for names in changes.values())


def _files(names: list[str]) -> tuple[str, ...]:
    """The files of data/ among DVC's paths, sorted."""
    return tuple(sorted(name for name in names if name.startswith(f"{RAW_DATA}/") and not name.endswith("/")))


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


def _entry(repo: Any, root: Path) -> Any:
    """The stage in data.dvc as DVC's own object; a new one if data.dvc does not exist yet."""
    from dvc.repo.add import get_or_create_stage

    return get_or_create_stage(repo, str(root / RAW_DATA)).stage


@contextmanager
def _repository(root: Path, config: dict[str, Any] | None = None) -> Iterator[Any]:
    """DVC's `Repo` of this project, with logging off; its errors are raised as GraftError."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo
    from dvc.repo.open_repo import clean_repos

    from tasks.executor.dvc.dvc_process_lock import wait_for_lock
    from tasks.executor.dvc.dvc_rwlock import mend_claims

    of_dvc = logging.getLogger("dvc")
    level = of_dvc.level
    try:
        of_dvc.setLevel(logging.CRITICAL)  # no progress bars; what it would print is in the error, too
        repo = Repo(str(root), config=config)
        try:
            with ExitStack() as held:
                wait_for_lock(repo, lambda: held.enter_context(lock_repo(repo)))
                mend_claims(repo)
                yield repo
        finally:
            repo.close()
            clean_repos()  # temporary clones of repositories that data is imported from
    except ImportError as error:
        raise GraftError(
            f"{POINTER}: DVC has no driver for its remote: {error}", "Install it, for example: pip install 'dvc[s3]'."
        ) from None
    except (DvcException, OSError) as error:
        hint = of_the_disk(error) or "`dvc status data.dvc` and `dvc doctor` show more."
        raise GraftError(f"{POINTER}: {error}", hint) from None
    finally:
        of_dvc.setLevel(level)


def _answers(url: str) -> bool:
    """Whether a remote's host accepts connections; True if its address has no host to try."""
    parts = split_address(url)
    port = parts.port or {"http": 80, "https": 443, "webdav": 80, "webdavs": 443, "ssh": 22}.get(parts.scheme)
    if not parts.hostname or port is None:
        return True
    try:
        socket.create_connection((parts.hostname, port), timeout=10).close()
    except OSError:
        return False
    return True


@contextmanager
def _naming_what_is_missing(place: str, repo: Any, url: str = "") -> Iterator[None]:
    """When the cache or the remote cannot provide data/, raise an error that names the missing or damaged files."""
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException:
        if not _answers(url):
            raise AwayError(f"{place} does not answer", "Nothing was changed; run again when it does.") from None
        missing = _files(repo.data_status(granular=True)["not_in_cache"])
        lost = _first(missing) or f"{RAW_DATA}/"
        raise GraftError(
            f"{place} does not have the data that {POINTER} records: {lost} missing or damaged",
            "Push it again from a checkout that has it (`dvc push`). `dvc remote list` shows the remotes, and"
            " `dvc remote add -d NAME URL` sets the one to pull from.",
        ) from None
