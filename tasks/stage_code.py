"""Which code each stage of a user's project runs, as hashes in its `code.yaml`.

In Graft's own checkout `dvc.yaml` names the code files that a stage uses. In a user's project the code lies elsewhere,
so there `dvc.yaml` makes the hashes in `code.yaml` parameters of the stages. Graft brings that file up to date before
it judges what has to run (`refresh`). Stock DVC cannot, so a stage refuses to run where the file is not up to date
(`require_current`): no result is ever recorded under the hash of other code than made it.
"""

import hashlib
import os
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from tasks.errors import GraftError
from tasks.files import write_text
from tasks.parameters import load_yaml
from tasks.shipped import ROOT, shipped_text

FILE = "code.yaml"
OWN_STRATEGIES = "strategies"
"""The folder of a project in which a user's own strategies lie."""
STAGE_VARIABLE = "DVC_STAGE"
"""In the environment of a stage that DVC or Graft runs: its name."""
_MARK = "# The code that this project's stages run"
"""A file of that name without these words is of somebody else."""
_NOTE = f"""\
{_MARK}, as hashes: dvc.yaml makes them parameters, so that a stage runs again when
# its code has changed. Graft keeps this file up to date; leave that to it, and keep the file in git.
"""


def refresh(root: Path) -> None:
    """Bring a project's `code.yaml` up to date; nothing where there is none: the code is the project's own."""
    path = root / FILE
    if _is_ours(path) and path.read_text(encoding="utf-8") != (text := current(root)):
        write_text(path, text)


def current(root: Path) -> str:
    """What `code.yaml` has to hold."""
    content = {
        "graft": version("graft"),
        "stages": {stage: stage_hash(stage) for stage in _stages()},
        "strategies": {name: _hash_of([path]) for name, path in sorted(_strategies(root).items())},
    }
    return _NOTE + yaml.safe_dump(content, sort_keys=False)


def require_current(root: Path) -> None:
    """Refuse to run a stage for DVC or Graft if `code.yaml` records other code for it than would run.

    Raises:
        GraftError: the code changed since.
    """
    path, name = root / FILE, os.environ.get(STAGE_VARIABLE, "").rpartition(":")[2]
    if not name or not _is_ours(path):
        return
    stage, _, member = name.partition("@")
    if stage not in _stages():
        return  # a stage of the user's own
    recorded = load_yaml(path)
    as_recorded = _entry(recorded, "stages", stage) == stage_hash(stage)
    if strategy := _strategies(root).get(member.partition("-")[0]):
        as_recorded &= _entry(recorded, "strategies", strategy.stem) == _hash_of([strategy])
    if not as_recorded:
        raise GraftError(
            f"{FILE} records other code than stage {name} would run: Graft, or a file in {OWN_STRATEGIES}/, changed",
            "Bring it up to date (graft status), then run again.",
        )


def _is_ours(path: Path) -> bool:
    return path.exists() and _MARK in path.read_text(encoding="utf-8", errors="replace")


def _entry(recorded: dict[str, Any], section: str, name: str) -> object:
    entries = recorded.get(section)
    return entries.get(name) if isinstance(entries, dict) else None


def stage_hash(stage: str) -> str:
    """One hash of all files of Graft's code that a stage uses, but for the strategy's own file."""
    files = [dep for dep in _stages()[stage]["deps"] if dep.startswith(("graft/", "tasks/")) and "$" not in dep]
    return _hash_of(ROOT / file for file in files)


def _strategies(root: Path) -> dict[str, Path]:
    """The file of each strategy by its name, a project's own ones too; of two with one name, that of Graft."""
    folders = (root / OWN_STRATEGIES, ROOT / "graft" / "strategies")
    return {path.stem: path for folder in folders for path in folder.glob("[a-z]*.py") if path.stem != "base"}


@cache
def _stages() -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    stages: dict[str, Any] = yaml.load(shipped_text("dvc.yaml"), Loader=loader)["stages"]  # noqa: S506
    return stages


def _hash_of(files: Iterable[Path]) -> str:
    """The same wherever the code is installed."""
    whole = hashlib.sha256()
    for path in files:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:32]
