"""Large folders that nobody touched since DVC last hashed them.

Each time a stage is judged, DVC looks every file of the folders that it reads or makes up in its database, and those
that it makes in its cache too: of 100,000 files six seconds. Here such a folder is listed once, and if the inode, size
and time of every file, which is what DVC knows a file by, are those of when DVC last hashed the folder, its hash is the
one that DVC found then. It is noted in DVC's own database of files. What is in doubt is left to DVC.
"""

import hashlib
import itertools
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from dvc.dependency import Dependency
from dvc.output import Output

LEAST = 1_000
"""Files in a folder, below which DVC is quick enough."""


@contextmanager
def untouched_folders(stages: Iterable[Any]) -> Iterator[None]:
    """Within it, DVC's judgement of these stages takes the hash of a large folder from when it last hashed it."""
    files = itertools.chain.from_iterable((*stage.deps, *stage.outs) for stage in stages)
    large = [file for file in files if _is_large_folder(file)]
    known: dict[tuple[str, str], Any] = {}
    for file in large:
        file.get_hash = partial(_hash, file, known)
        file.changed_cache = partial(_is_not_in_cache, file)
    try:
        yield
    finally:
        for file in large:
            del file.get_hash, file.changed_cache


def _is_large_folder(file: Any) -> bool:
    """Whether it is a plain folder of this machine, in which there were many files when it was recorded."""
    is_plain = type(file) in (Output, Dependency) and file.fs.protocol == "local" and not file.files
    return is_plain and bool(file.hash_info) and file.hash_info.isdir and (file.meta.nfiles or 0) >= LEAST


def _hash(file: Any, known: dict[tuple[str, str], Any]) -> Any:
    """What `get_hash` gives, asked once for a folder that several stages read."""
    place = file.fs_path, file.hash_name
    if place not in known:
        known[place] = _noted_hash(file)
    return known[place]


def _noted_hash(file: Any) -> Any:
    state, listed = file.repo.state, _listed(Path(file.fs_path), Path(file.repo.root_dir))
    _, noted = state.get(file.fs_path, file.fs, info=listed) if listed else (None, None)
    if noted and noted.name == file.hash_name:
        return noted
    file.repo.__dict__.pop("dvcignore", None)  # what it read of `.dvcignore` may be older than what was listed
    found = type(file).get_hash(file)
    if listed:
        with suppress(Exception):  # a note alone: what a full disk endangers is told elsewhere
            state.save(file.fs_path, file.fs, found, info=listed)
    return found


def _listed(folder: Path, project: Path) -> dict[str, Any] | None:
    """A folder as DVC's database knows a file, with a hash over all that lies in it for its time; None if it cannot be
    known so. What `.dvcignore` says above it may hide some of it, and counts too.

    The times of folders are among it: what comes and goes while DVC looks makes the note one of a time that is past.
    """
    content, size = hashlib.md5(usedforsecurity=False), 0
    try:
        for above in itertools.takewhile(lambda parent: parent != project.parent, folder.parents):
            ignored = above / ".dvcignore"
            content.update(repr((str(above), ignored.read_bytes() if ignored.exists() else None)).encode())
        about = folder.stat()
        content.update(repr(about.st_mtime_ns).encode())
        todo = [str(folder)]
        while todo:
            with os.scandir(todo.pop()) as entries:
                found = sorted(entries, key=attrgetter("name"))
            lines = []
            for entry in found:
                of_entry = entry.stat()
                lines.append((entry.path, of_entry.st_ino, of_entry.st_size, of_entry.st_mtime_ns))
                size += of_entry.st_size
                if stat.S_ISDIR(of_entry.st_mode):
                    if entry.is_symlink():  # it may lead anywhere, back into the folder too
                        return None
                    todo.append(entry.path)
            content.update(repr(lines).encode())
        return {"type": "directory", "ino": about.st_ino, "mtime": content.hexdigest(), "size": size}
    except OSError:
        return None


def _is_not_in_cache(file: Any, filter_info: Any = None) -> bool:
    """What `changed_cache` says; it is asked where a file of the folder is missing in the cache, or may be damaged."""
    return not (filter_info is None and _is_whole(file)) and bool(type(file).changed_cache(file, filter_info))


def _is_whole(file: Any) -> bool:
    """Whether the cache has each file of a folder as DVC put it there: read-only, which is what DVC looks at too."""
    cache = file.cache if file.use_cache else None
    if cache is None or cache.fs.protocol != "local":
        return False
    listing = Path(cache.oid_to_path(file.hash_info.value))
    try:
        names = (cache.oid_to_path(entry["md5"]) for entry in json.loads(listing.read_bytes()))
        modes = (os.stat(name).st_mode for name in (str(listing), *names))  # noqa: PTH116  (a Path for each takes longer)
        return all(stat.S_IMODE(mode) == cache.CACHE_MODE for mode in modes)
    except (OSError, ValueError, KeyError, TypeError):
        return False
