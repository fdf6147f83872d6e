"""What can be asked of, and done with, one stage of DVC."""

import contextlib
import copy
import itertools
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from dvc.dependency.db import AbstractDependency
from dvc.dependency.repo import RepoDependency
from dvc.fs import localfs
from dvc.rwlock import rwlock
from dvc.stage import PipelineStage, Stage, create_stage
from dvc.stage.cache import StageCache, _can_hash, _get_stage_hash
from dvc.stage.loader import StageLoader
from dvc.stage.run import _enforce_cmd_list, _make_cmd, get_executable, prepare_kwargs
from dvc.stage.serialize import to_single_stage_lockfile
from dvc_data.hashfile.hash import hash_file

from tasks.common.places import GRAPH
from tasks.executor.processes.runner import Command
from tasks.executor.resources.stage_meta import Needs, read_needs
from tasks.stage.key import KEY_VARIABLE, entry_key

PIPELINE_FILE = str(GRAPH)
_WHOLE = re.compile("[0-9a-f]{64}")
"""Name of an entry of the run cache: it is renamed to it when it is written."""
_WRITING = 60.0
"""Seconds that a process may need to write one: the cache may be shared with other projects."""


@dataclass(frozen=True)
class Judgement:
    """How a stage stands, whatever becomes of those before it.

    Attributes:
        state: `running` if another process is writing an output, `waits` if it is writing an input.
        reasons: for people, one line each; none for one that is up to date.
    """

    state: Literal["up_to_date", "changed", "running", "waits"]
    reasons: tuple[str, ...] = ()


class RunCache(StageCache):  # type: ignore[misc]  # DVC has no types that mypy could follow
    """DVC's run cache, usable from any working directory: stock looks for `dvc.yaml` in the current one.

    And what it restores is looked at: DVC trusts whatever lies read-only in its cache, trips over the empty folder of
    an entry that was about to be written when its process was killed, and reads what is half-written.
    """

    def restore_whole(self, stage: Any) -> list[str]:
        """Restore the stage's outputs; those of its files that were damaged, and were taken out of the cache.

        Raises:
            RunCacheNotFoundError: there is no result for such inputs, or not all of it.
        """
        self.restore(stage)
        return damaged(self._restored)

    def _load(self, stage: Any) -> dict[str, Any] | None:
        """The newest entry for the stage's inputs, of those that are whole; what was left next to them goes."""
        key = _get_stage_hash(stage)
        folder = Path(self._get_cache_dir(key))
        if not folder.is_dir():
            return None
        found = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        whole = [path for path in found if _WHOLE.fullmatch(path.name)]
        for path in (*(set(found) - set(whole)), *([] if whole else [folder])):
            with contextlib.suppress(OSError):  # the folder of one that is being written is not empty
                if time.time() - path.stat().st_mtime > _WRITING:
                    path.rmdir() if path.is_dir() else path.unlink()
        return cast(dict[str, Any] | None, self._load_cache(key, whole[0].name)) if whole else None

    def _create_stage(self, cache: dict[str, Any], wdir: str | None = None) -> Any:
        path = str(Path(self.repo.root_dir) / PIPELINE_FILE)
        outs = [out["path"] for out in cache["outs"]]
        stage = create_stage(PipelineStage, repo=self.repo, path=path, cmd=cache["cmd"], wdir=wdir, outs=outs)
        StageLoader.fill_from_lock(stage, cache)
        self._restored = stage
        return stage

    def holds(self, stage: Any) -> bool:
        """Whether `restore` would bring the stage's outputs back; stock's dry run judges by inputs as they were."""
        if not stage.changed_stage() and stage.deps_cached() and all(out.hash_info for out in stage.outs):
            return bool(stage.outs_cached())
        stage.save_deps()
        found = self._load(stage) if _can_hash(stage) else None
        return bool(found and self._create_stage(found, wdir=stage.wdir).outs_cached())


def working_copy(stage: Any) -> Any:
    """A stage to work on: if its command fails, the original still knows what `dvc.lock` says."""
    work = copy.copy(stage)
    work.deps = [copy.copy(dep) for dep in stage.deps]
    work.outs = [copy.copy(out) for out in stage.outs]
    return work


def missing_inputs(stage: Any) -> list[str]:
    """The inputs that do not exist."""
    return [str(dep) for dep in stage.deps if not isinstance(dep, AbstractDependency) and not dep.exists]


def changed_sources(stage: Any, plan: Iterable[Any]) -> list[str]:
    """The inputs, just hashed, that are tracked by .dvc files of the plan which record something else.

    With such an input `dvc.lock` would name data that is nowhere in the cache.
    """
    recorded = {out.fs_path: out.hash_info for each in plan if not each.cmd for out in each.outs}
    inputs = [dep for dep in stage.deps if not isinstance(dep, AbstractDependency) and dep.fs_path in recorded]
    pairs = [(dep, recorded[dep.fs_path]) for dep in inputs]
    return [str(dep) for dep, known in pairs if known.name == dep.hash_info.name and known != dep.hash_info]


def commands(stage: Any, name: str, key: str) -> list[Command]:
    """The stage's commands with the shell, folder and variables that DVC gives them, and its key next to them."""
    given = prepare_kwargs(stage)
    folder, environment = Path(given["cwd"]), {**given["env"], "DVC_STAGE": name, KEY_VARIABLE: key}
    return [
        Command(line, tuple(_make_cmd(get_executable(), line)), folder, environment, needs(stage, name).threads)
        for line in _enforce_cmd_list(stage.cmd)
    ]


def key(stage: Any) -> str:
    """What went into a stage whose inputs are hashed, as one hash."""
    return entry_key(to_single_stage_lockfile(stage))


def needs(stage: Any, name: str) -> Needs:
    """What the stage's `meta:` asks for.

    Raises:
        GraftError: that cannot be asked for.
    """
    return read_needs(stage.meta or {}, name)


def held(stage: Any, name: str) -> AbstractContextManager[None]:
    """Keep other DVC processes from writing what the command reads, and from touching what it writes.

    Claims are told apart by their text. With DVC's own, the command line alone, two stages that run at once would
    share a claim on what both read, and the first to end would give it up for both.
    """
    read = [dep.fs_path for dep in stage.deps if not isinstance(dep, AbstractDependency)]
    write = [out.fs_path for out in stage.outs]
    repo, who = stage.repo, f"{' '.join(sys.argv)} (stage {name})"
    hardlink = repo.config["core"].get("hardlink_lock", False)
    return cast(AbstractContextManager[None], rwlock(repo.tmp_dir, repo.fs, who, read, write, hardlink))


def damaged(stage: Any) -> list[str]:
    """Files of outputs that came out of the cache with other bytes than their hash says; they are taken out of it."""
    found = []
    for out in stage.outs:
        if not out.use_cache or not out.hash_info:
            continue
        for path, oid in _files(out):
            if hash_file(path, out.fs, out.hash_info.name)[1].value != oid:
                Path(out.cache.oid_to_path(oid)).unlink(missing_ok=True)
                found.append(Path(os.path.relpath(path, stage.repo.root_dir)).as_posix())
    return found


def _files(out: Any) -> Iterator[tuple[str, str]]:
    """Each file of an output with its hash."""
    tree = out.get_obj() if out.hash_info.isdir else None
    if tree is None:
        yield out.fs_path, out.hash_info.value
        return
    for key, _, hash_info in tree:
        yield out.fs.join(out.fs_path, *key), hash_info.value


def is_run_cached(stage: Any) -> bool:
    """Whether stock enters this stage's results in the run cache: not if an output is left to Git."""
    return all(out.use_cache for out in stage.outs if not (out.is_metric or out.is_plot))


def in_work(stage: Any, written: Mapping[str, str]) -> Judgement | None:
    """What there is to say of a stage of which an output or input is being written; None if none is.

    Args:
        stage: of whatever project.
        written: the files and folders that processes are writing, and which process each.
    """
    inputs = [dep for dep in stage.deps if not isinstance(dep, AbstractDependency | RepoDependency)]
    for file, (path, who) in itertools.product((*stage.outs, *inputs), written.items()):
        if localfs.overlaps(file.fs_path, path):
            return Judgement("waits" if file in inputs else "running", (f"{file} is being written by {who}",))
    return None


def judge(stage: Any) -> Judgement:
    """What DVC's status says of a stage that nobody works at."""
    status = Stage.status.__wrapped__  # it takes a lock for each stage, which is half of its time
    entries: list[Any] = next(iter(status(stage, check_updates=False).values()), [])
    if entries and stage.cmd and not any(item.hash_info for item in (*stage.deps, *stage.outs)):
        return Judgement("changed", ("never run",))
    reasons = tuple(reason for entry in entries for reason in _reasons(entry))
    return Judgement("changed" if reasons else "up_to_date", reasons)


def _reasons(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
        return
    for kind, items in entry.items():
        for path, state in items.items():
            if isinstance(state, dict):
                yield from (f"{path}: {parameter} {how}" for parameter, how in state.items())
            else:
                yield f"output {path} {state}" if kind == "changed outs" else f"{path} {state}"
