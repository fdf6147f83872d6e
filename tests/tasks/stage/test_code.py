"""`code.yaml` is kept as it has to be, and nobody else's file of that name is touched."""

from pathlib import Path

import pytest
import yaml

from tasks.common.errors import GraftError
from tasks.common.places import CODE
from tasks.stage import code as stage_code
from tasks.stage.code import STAGE_VARIABLE, current, refresh, require_current


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies/mine.py").write_text("one")
    (tmp_path / CODE).write_text(current(tmp_path))
    return tmp_path


def test_it_is_renewed_where_the_code_changed_or_the_file_is_torn(root: Path) -> None:
    before = (root / CODE).read_text()
    (root / "strategies/mine.py").write_text("two")
    refresh(root)
    after = (root / CODE).read_text()
    one, two = (yaml.safe_load(text)["strategies"] for text in (before, after))
    assert {name for name in two if one[name] != two[name]} == {"mine"}
    head = before.splitlines()[0]
    (root / CODE).write_text(f"{head}\n<<<<<<< HEAD\nstages: [\n=======\n")
    refresh(root)
    assert (root / CODE).read_text() == after


@pytest.mark.parametrize("text", ["stages: {prepare: 1}\n", "\udcff"])
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / CODE).write_bytes(text.encode(errors="surrogateescape"))
    monkeypatch.setenv(STAGE_VARIABLE, "prepare")
    refresh(tmp_path)
    require_current(tmp_path)
    assert (tmp_path / CODE).read_bytes() == text.encode(errors="surrogateescape")
    (tmp_path / CODE).unlink()
    refresh(tmp_path)
    assert not (tmp_path / CODE).exists(), "nobody asked for one"


def test_a_stage_refuses_only_where_its_own_code_is_another(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "strategies/mine.py").write_text("two")
    for stage in ("prepare", "dvc.yaml:evaluate", "finetune@fine_tune-5-0", "adapt@mcc-0", "of_the_user@mine-1", ""):
        monkeypatch.setenv(STAGE_VARIABLE, stage)
        require_current(root)
    monkeypatch.setenv(STAGE_VARIABLE, "finetune@mine-5-0")
    with pytest.raises(GraftError, match=r"code\.yaml is out of date for stage finetune@mine-5-0") as caught:
        require_current(root)
    assert "graft status" in caught.value.hint
    monkeypatch.setenv(STAGE_VARIABLE, "prepare")
    monkeypatch.setattr(stage_code, "stage_hash", lambda _: "other")
    with pytest.raises(GraftError, match="stage prepare"):
        require_current(root)


def test_a_strategy_of_ones_own_does_not_stand_for_one_of_grafts(root: Path) -> None:
    before = current(root)
    (root / "strategies/fine_tune.py").write_text("mine")
    assert current(root) == before
