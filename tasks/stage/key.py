"""The key of a stage's result: a hash over its inputs, read from `dvc.lock` only.

The key identifies an MLflow run: a stage that is skipped, restored or run again on the same inputs has the same key, so
its run is found instead of created twice.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from tasks.common.errors import GraftError
from tasks.common.read_once import read_once
from tasks.common.yaml_files import read_yaml

KEY_VARIABLE = "GRAFT_STAGE_KEY"
"""Environment variable with the stage's key, set for every stage that Graft runs."""
NOT_CONTENT = {"size", "nfiles", "isexec"}


@read_once
def lock_entries(lock_path: Path) -> dict[str, dict[str, Any]]:
    """The entry of each stage in a `dvc.lock` (cmd, deps, params, outs); empty if the file does not exist.

    It is read once as long as the file is unchanged: never change what this returns.

    Raises:
        GraftError: the file is damaged.
    """
    try:
        text = lock_path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        content = read_yaml(text) or {}
        entries = content.get("stages") or {}
        if not all(isinstance(entry, dict) and "cmd" in entry for entry in entries.values()):
            raise ValueError("an entry without a command")
    except Exception as error:  # where a value does not fit its tag, the parser lets any exception through
        raise GraftError(
            f"{lock_path} is damaged: {error}", f"Restore the last good version: git checkout {lock_path.name}"
        ) from error
    return dict(entries)


def stage_keys(lock_path: Path) -> dict[str, str]:
    """The SHA-256 (hex) of each stage's command, parameters and dependencies in a `dvc.lock`, by stage.

    Raises:
        GraftError: the file is damaged.
    """
    return {name: entry_key(entry) for name, entry in lock_entries(lock_path).items()}


def entry_key(entry: dict[str, Any]) -> str:
    """The SHA-256 (hex) of a stage's inputs, from its entry in `dvc.lock`."""
    deps = [{name: value for name, value in dep.items() if name not in NOT_CONTENT} for dep in entry.get("deps", [])]
    inputs = {"cmd": entry["cmd"], "deps": deps, "params": entry.get("params", {})}
    return hashlib.sha256(json.dumps(_plain(inputs), sort_keys=True, default=str).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """`value` with every key as a string: the keys of a YAML mapping may have types that cannot be sorted together."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
