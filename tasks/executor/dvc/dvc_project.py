"""DVC's graph, locks and judgement. Only files named `dvc_*.py` touch DVC, here and for the data.

What is done for a stage, and in which order, is what `dvc repro` does (`dvc.stage.Stage.reproduce`, `run`, `save`,
`commit`, `dump`), with these differences: `dvc.lock` is replaced in one step, its new entries stand in stock's order
whichever stage is ready first, and an input that was edited while its stage ran is an error and not recorded.

DVC is not thread-safe. All of it happens in *sections*: one thread of this process at a time, and under DVC's own lock,
so that a `dvc` command next to it waits or says why not. A command of a stage runs outside of any section, its files
claimed in DVC's rwlock as `dvc repro` claims them.
"""

import errno
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.repo.open_repo import clean_repos
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.stage import PipelineStage
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.exceptions import StageNotFound
from dvc.utils import parse_target

from tasks.common.errors import OF_THE_DISK, PASSING_FAULT, GraftError, of_the_disk
from tasks.executor.dvc import dvc_errors, dvc_stage
from tasks.executor.dvc.dvc_errors import problems
from tasks.executor.dvc.dvc_large_folders import untouched_folders
from tasks.executor.dvc.dvc_lock_file import DvcFiles
from tasks.executor.dvc.dvc_process_lock import wait_for_lock
from tasks.executor.dvc.dvc_read_once import read_once
from tasks.executor.dvc.dvc_rwlock import mend_claims, writers
from tasks.executor.dvc.dvc_stage import PIPELINE_FILE, Judgement
from tasks.executor.dvc.gitignore import GitIgnores
from tasks.executor.processes.runner import Command
from tasks.executor.resources.stage_meta import Needs

logger = logging.getLogger("graft.executor")
_one_at_a_time = threading.Lock()
_ROOM = 2**20
"""Bytes free, below which a problem is likely that of a full disk."""
_MAKE_ROOM = OF_THE_DISK[errno.ENOSPC]
for _name in ("dvc", "dvc_data", "dvc_objects"):  # no progress bars and no advice across our own display
    logging.getLogger(_name).setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Node:
    """A stage in the graph, as far as scheduling needs to know it.

    Attributes:
        name: as `dvc repro` takes it: `prepare`, `finetune@mixed-0`, `data.dvc`, `sub/dvc.yaml:train`.
        upstream: the stages of the same plan that make or check what it reads.
        needs: what its `meta:` in `dvc.yaml` asks for.
    """

    name: str
    upstream: tuple[str, ...]
    needs: Needs


@dataclass(frozen=True)
class Claim:
    """A stage whose commands may run now: outputs removed, inputs hashed, files claimed in DVC's rwlock."""

    name: str
    key: str
    commands: list[Command]
    stage: Any
    inputs: list[Any]
    held: ExitStack = field(repr=False)


class TransientError(GraftError):
    """A problem that may be gone at the next attempt: a busy file, an input edited while its stage ran."""

    ends_with = PASSING_FAULT


class SourceChangedError(GraftError):
    """Data that DVC tracks is no longer what its .dvc file records: it has to be taken in before stages may read it."""


class Project:
    """One reading of a DVC project: its graph, and what has been done with it since.

    Args:
        root: the folder in which `dvc repro` would be called.
        takes_data: whether tracked data that changed (`data.dvc`) is recorded as it is, as `dvc repro` does; if not,
            that is an error, for whoever has to look at it first.

    Raises:
        GraftError: there is no DVC repository.
    """

    def __init__(self, root: Path, *, takes_data: bool = True) -> None:
        os.environ.setdefault("DVC_NO_ANALYTICS", "1")
        self.root, self._takes_data = root.resolve(), takes_data
        self._giving_up = threading.Event()
        self._is_stale = False
        self._stages: dict[str, Any] = {}
        self._places: dict[str, int] = {}
        self._judged: dict[str, Judgement] = {}
        self._readers: dict[str, list[str]] = {}
        try:
            self._repo = Repo(str(self.root))
        except DvcException as error:
            raise GraftError(problems(error), "Change into a DVC project first, or make one: dvc init") from error
        self._repo.stage_cache = dvc_stage.RunCache(self._repo)
        self._files, self._ignores = DvcFiles(Path(self._repo.tmp_dir)), GitIgnores()

    def plan(self, targets: Iterable[str] = ()) -> list[Node]:
        """The stages that `dvc repro TARGETS` would look at, in its order.

        Raises:
            GraftError: the pipeline cannot be read (all reasons), or a target does not exist (with those that do).
        """
        with self._section():
            graph = self._graph()
            names = {stage: self._name(stage) for stage in graph}
            active = get_active_graph(graph)
            needed = set(plan_repro(active, self._wanted(names, targets)))
            active.remove_nodes_from([stage for stage in graph if stage not in needed])
            steps = plan_repro(active)  # of a graph of its own: in part of another, stock's order depends on hashes
            self._stages = {names[stage]: stage for stage in steps}
        self._places = {name: place for place, name in enumerate(self._stages)}
        nodes = []
        for name, stage in self._stages.items():
            # Of the whole graph: a frozen stage is not remade for what it reads, yet nobody may write that meanwhile.
            upstream = tuple(names[other] for other in graph.successors(stage) if names[other] in self._stages)
            self._readers[name] = [names[other] for other in graph.predecessors(stage)]
            nodes.append(Node(name, upstream, dvc_stage.needs(stage, name)))
        return nodes

    def is_changed(self, name: str) -> bool:
        """Whether `dvc repro` would do anything for this stage.

        What `judge` found is not looked for again, unless the run has since written something that the stage reads; of
        data that DVC tracks it is, since anyone may edit that at any time.
        """
        stage = self._stages[name]
        if stage.cmd and (judged := self._judged.get(name)):
            return judged.state != "up_to_date"
        with self._section(), untouched_folders([stage]):
            return bool(stage.changed())

    def judge(self) -> dict[str, Judgement]:
        """How each stage of the plan stands. What another process is writing is not looked at: it is half of a file."""
        with self._section():
            written = writers(self._repo)  # within the section nobody begins to write
            found = {name: dvc_stage.in_work(stage, written) for name, stage in self._stages.items()}
            looked_at = [stage for name, stage in self._stages.items() if not found[name]]
            with untouched_folders(looked_at), read_once(looked_at):
                judged = {name: found[name] or dvc_stage.judge(stage) for name, stage in self._stages.items()}
        self._judged = {name: how for name, how in judged.items() if not found[name]}
        return judged

    def can_restore(self, name: str) -> bool:
        """Whether the run cache holds the result of this stage for its inputs as they are now."""
        with self._section():
            stage = dvc_stage.working_copy(self._stages[name])
            try:
                return bool(self._repo.stage_cache.holds(stage))
            except DvcException:  # an input is missing
                return False

    def claim(self, name: str) -> Claim | Literal["restored", "committed"]:
        """Do all for a changed stage that needs no command; else claim it, so that its commands can run.

        A stage without a command of its own (`data.dvc`, an import, a frozen stage) is left to DVC and committed. A
        claimed one must be given back: to `record` if its commands ended well, else to `release`.
        """
        with self._section():
            stage = dvc_stage.working_copy(self._stages[name])
            if not stage.cmd and not self._takes_data:
                raise SourceChangedError(f"{', '.join(map(str, stage.outs))} is no longer what {name} records")
            if stage.frozen or not stage.cmd:
                stage.reproduce()
                self._enter(name, stage)
                return "committed"
            if missing := dvc_stage.missing_inputs(stage):
                raise GraftError(f"stage {name} reads {', '.join(missing)}, which does not exist")
            if self._restored(name, stage):
                self._save(name, stage)
                return "restored"
            stage.save_deps()
            if changed := dvc_stage.changed_sources(stage, self._stages.values()):
                raise SourceChangedError(
                    f"{', '.join(changed)} changed after the .dvc file of it was written", "Run again."
                )
            inputs = [dep.hash_info for dep in stage.deps]
            key, held = dvc_stage.key(stage), ExitStack()
            commands = dvc_stage.commands(stage, name, key)
            held.enter_context(dvc_stage.held(stage, name))
            return Claim(name, key, commands, stage, inputs, held)

    def record(self, claim: Claim) -> None:
        """Save and commit what the commands of a claimed stage have made, and enter it in `dvc.lock`.

        Raises:
            TransientError: an input changed while the commands ran; nothing is recorded.
            GraftError: an output is missing, or cannot be committed.
        """
        self._is_stale = True  # a command may have changed ignore files and configuration
        with _let_go(claim), self._section():
            claim.held.close()
            self._save(claim.name, claim.stage, claim.inputs)

    def release(self, claim: Claim) -> None:
        """Give up a claim whose commands failed; `dvc.lock` and the run cache stay as they were."""
        self._is_stale = True
        with _let_go(claim), self._section():
            claim.held.close()

    def give_up(self) -> None:
        """Stop waiting for a lock that another DVC process holds; may be called from any thread."""
        self._giving_up.set()

    def close(self) -> None:
        """Close DVC's databases, and remove its copies of the repositories that something is imported from."""
        with _one_at_a_time:
            self._repo.close()
            clean_repos()

    @contextmanager
    def _section(self) -> Iterator[None]:
        """Let one thread use DVC, under DVC's lock; DVC's errors become errors for people."""
        with _one_at_a_time:
            try:
                wait_for_lock(self._repo, self._repo.lock.lock, self._giving_up)
                try:
                    mend_claims(self._repo)
                    if self._is_stale:
                        self._repo._reset()
                        self._is_stale = False
                    with self._repo.scm_context(quiet=True):
                        yield
                finally:
                    self._repo.lock.unlock()
            except LockError as error:
                raise TransientError(problems(error)) from error
            except DvcException as error:
                found, full = problems(error), self._full()
                raise GraftError(found + full, _MAKE_ROOM if full else dvc_errors.way_out(found)) from error
            except (OSError, sqlite3.Error) as error:
                full = self._full()
                raise GraftError([str(error), *full], _MAKE_ROOM if full else of_the_disk(error)) from error

    def _full(self) -> list[str]:
        """The places that DVC writes to in which no room is left: it and its databases name none, if they say so."""
        cache, memory = self._repo.cache.local.path, self._repo.site_cache_dir
        places = {"the project": self.root, "DVC's cache": Path(cache), "DVC's notes of hashes": Path(memory)}
        return [
            f"no room is left for {what}: {place}"
            for what, place in places.items()
            if place.exists() and shutil.disk_usage(place).free < _ROOM
        ]

    def _graph(self) -> Any:
        try:
            return self._repo.index.graph
        except DvcException:
            raise
        except Exception as error:  # DVC takes some torn files for good ones and trips over what is missing
            if dvc_errors.is_of_templates(error):
                raise GraftError(
                    f"dvc.yaml cannot be filled in with what params.yaml holds: {error}",
                    "A matrix needs lists or mappings: see params.yaml, and ${…} in dvc.yaml.",
                ) from error
            raise GraftError(
                f"dvc.lock (or another DVC file) in {self.root} is damaged: {error}",
                dvc_errors.LAST_GOOD_LOCK,
            ) from error

    def _name(self, stage: Any) -> str:
        file = Path(os.path.relpath(stage.path, self.root)).as_posix()
        if not isinstance(stage, PipelineStage):
            return file
        return str(stage.name) if file == PIPELINE_FILE else f"{file}:{stage.name}"

    def _wanted(self, names: dict[Any, str], targets: Iterable[str]) -> list[Any]:
        """The stages that are asked for, without what they need; `names` are those of all stages of the graph."""
        wanted: list[Any] = []
        for target in list(targets) or [PIPELINE_FILE]:
            path, name = parse_target(target)
            file = self.root / (path or PIPELINE_FILE)
            # To have DVC read a file of fifty stages again takes as long as the rest of `graft status`.
            if known := [stage for stage in names if _is_member(stage, file, name)]:
                wanted += known
                continue
            try:
                wanted += self._repo.stage.load_all(path=str(file), name=name)
            except StageNotFound as error:
                there = ", ".join(sorted(names.values()))
                raise GraftError(f"There is no stage {target!r}", f"There are: {there}.") from error
        return wanted

    def _save(self, name: str, stage: Any, inputs: list[Any] | None = None) -> None:
        """Hash what the stage read and made, commit it, and enter it in `dvc.lock`; `inputs` must be as they were."""
        stage.save(run_cache=False)
        if inputs is not None:
            edited = [str(dep) for dep, was in zip(stage.deps, inputs, strict=True) if dep.hash_info != was]
            if edited:
                raise TransientError(
                    f"{', '.join(edited)} changed while stage {name} ran, so what it made is not recorded", "Run again."
                )
        if dvc_stage.is_run_cached(stage):
            self._repo.stage_cache.save(stage)
        stage.commit()
        self._enter(name, stage)
        stage.cmd_changed = False  # as after a new reading of the file just written

    def _restored(self, name: str, stage: Any) -> bool:
        """Whether the run cache gave the stage's outputs, whole; if it did not, none of them is there."""
        stage.remove_outs(ignore_remove=False, force=False)
        try:
            damaged = self._repo.stage_cache.restore_whole(stage)
        except RunCacheNotFoundError:
            return False
        if damaged:
            logger.warning("%s: DVC's cache held damaged files (%s); they were removed", name, ", ".join(damaged))
            stage.remove_outs(ignore_remove=False, force=False)
        return not damaged

    def _enter(self, name: str, stage: Any) -> None:
        """Write the stage's entry, and remember it as up to date."""
        for changed_since in (name, *self._readers[name]):
            self._judged.pop(changed_since, None)
        context, place = self._repo.scm_context, self._places[name]
        self._ignores.sort(context.ignored_paths, place)
        changed = self._files.enter(stage, place)
        if changed:
            context.track_file(os.path.relpath(changed))  # staged if the project asks for it (core.autostage)
        self._stages[name] = stage


@contextmanager
def _let_go(claim: Claim) -> Iterator[None]:
    """Give back what a claim holds even if DVC's lock is not available: the interpreter, which would give it back
    when it ends, could not start the thread that DVC shows its waiting with, and would wait for that forever."""
    try:
        yield
    finally:
        with suppress(Exception):
            claim.held.close()


def _is_member(stage: Any, file: Path, name: str | None) -> bool:
    """Whether a stage is defined in `file` and is `name`, or a member of that group; any if no name is given."""
    own = getattr(stage, "name", None)  # what `dvc add` made has none
    named = name is None or own == name or (own or "").startswith(f"{name}@")
    return Path(stage.path) == file and named
