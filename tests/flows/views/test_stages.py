"""What `graft status` prints."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.run import show_status, status_view
from tasks.common.errors import GraftError
from tasks.data_versions.version import DataStatus
from tasks.executor.pipeline import StageStatus
from tasks.new_project.answers import Answers
from tasks.new_project.create import create
from tests.house.imports import ROOT
from tests.tasks.support.reads import counted_reads

IDLE = [StageStatus("prepare", "up_to_date"), *(StageStatus(f"finetune@a-{i}", "up_to_date") for i in range(3))]


def lines(found: list[StageStatus], width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(status_view(DataStatus("unchanged"), found, width), soft_wrap=True)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_what_is_up_to_date_shares_a_line_with_its_group() -> None:
    assert [" ".join(line.split()) for line in lines(IDLE)] == [
        "data unchanged",
        "prepare – up to date",
        "finetune – 3 up to date",
        "Nothing to do.",
    ]


def test_what_has_to_run_has_its_own_line_and_the_last_one_counts() -> None:
    name = "finetune@a_strategy_with_a_long_name-10-0"
    found = [*IDLE, StageStatus(name, "will_run", ("a reason " * 20,)), StageStatus("evaluate", "waits", ("after",))]
    *_, run, waits, last = lines(found)
    assert run.startswith(f"{name}  ▶ to run")
    assert run.endswith("…")
    assert len(run) <= 80
    assert waits.split() == ["evaluate", "·", "may", "follow", "after"]
    assert last == "Stages: 1 to run, 1 that may follow, 4 up to date."
    assert any(line.startswith(f"{name}  ▶ to run") for line in lines(found, width=40)), "names are never cut"


def test_faults_of_the_parameters_come_before_the_graph(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("label_budgets: [1, 5, 10]", "label_budgets: 5"))
    with pytest.raises(GraftError, match=r"^params\.yaml: label_budgets: .*got 5; write \[5\]$"):
        show_status(tmp_path, Console(file=StringIO()))


def test_status_reads_the_parameters_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(tmp_path, Answers("mine"), git=False)
    reads, shown = counted_reads(monkeypatch, tmp_path / "params.yaml"), StringIO()
    show_status(tmp_path, Console(file=shown))
    assert "prepare" in shown.getvalue()
    assert len(reads) == 1
