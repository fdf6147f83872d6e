"""A stage's key stands for what went into it: its command, parameters and dependencies, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.common.errors import GraftError
from tasks.stage.key import lock_entries, stage_keys


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "cmd": "python -m tasks.finetune",
        "deps": [{"path": "data", "hash": "md5", "md5": "d1.dir", "size": 10, "nfiles": 2}],
        "params": {"params.yaml": {"lr": 0.1, "steps": 100}},
        "outs": [{"path": "model", "hash": "md5", "md5": "m1", "size": 5}],
    } | changes


def key(tmp_path: Path, content: dict[str, Any]) -> str:
    (tmp_path / "dvc.lock").write_text(
        yaml.safe_dump({"schema": "2.0", "stages": {"other": {"cmd": "x"}, "s": content}})
    )
    keys = stage_keys(tmp_path / "dvc.lock")
    assert list(keys) == ["other", "s"]
    return keys["s"]


@pytest.mark.parametrize(
    "changes",
    [
        {"cmd": "python -m tasks.pretrain"},
        {"params": {"params.yaml": {"lr": 0.2, "steps": 100}}},
        {"params": {"other.yaml": {"lr": 0.1, "steps": 100}}},
        {"deps": [{"path": "data", "hash": "md5", "md5": "d2.dir", "size": 10, "nfiles": 2}]},
        {"deps": [{"path": "data2", "hash": "md5", "md5": "d1.dir", "size": 10, "nfiles": 2}]},
        {"deps": []},
    ],
)
def test_every_input_changes_the_key(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert key(tmp_path, entry(**changes)) != key(tmp_path, entry())


@pytest.mark.parametrize(
    "changes",
    [
        {"outs": []},
        {"deps": [{"path": "data", "hash": "md5", "md5": "d1.dir", "size": 11, "nfiles": 3}]},
        {"params": {"params.yaml": {"steps": 100, "lr": 0.1}}},
    ],
)
def test_nothing_else_does(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert key(tmp_path, entry(**changes)) == key(tmp_path, entry())


def test_keys_are_the_same_tomorrow(tmp_path: Path) -> None:
    """Runs on a server are found by them: a change of the formula loses all runs."""
    assert key(tmp_path, entry()) == "4b456770872883224ec603cb98fc5fdffce72d195548d2cf5b89de22aa1adbf7"


def test_a_mapping_with_mixed_keys_has_a_key(tmp_path: Path) -> None:
    assert key(tmp_path, entry(params={"params.yaml": {"names": {1: "one", "two": 2}}}))


def test_no_lock_file_has_no_entries(tmp_path: Path) -> None:
    assert lock_entries(tmp_path / "dvc.lock") == {}


@pytest.mark.parametrize("text", ["stages: [", "- a", "stages:\n  a:\n    cm", "stages:\n  a: {deps: []}"])
def test_a_torn_lock_file_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(GraftError, match=r"dvc\.lock is damaged"):
        stage_keys(tmp_path / "dvc.lock")
