"""What `graft strategies` says, of files that cannot be used too."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

import graft.strategies
from flows.views.strategies import explain, overview
from graft.strategies import look_in, strategy_class, strategy_file
from tasks.checks.parameters import check_parameters
from tasks.common.errors import GraftError
from tests.house.imports import ROOT

GOOD = """\
\"\"\"Control: nothing.\"\"\"
from dataclasses import dataclass
from graft.contract import Strategy

@dataclass(frozen=True)
class Good(Strategy):
    \"\"\"Does nothing.\"\"\"

    bare: int = 3
"""


def shown(what: RenderableType) -> str:
    console = Console(file=StringIO(), width=120)
    console.print(what)
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Strategies of its own: a good one, and files that hold none."""
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "ill_named.py").write_text(GOOD.replace("Good", "Ill_Named"))
    (tmp_path / "torn.py").write_text("def (")
    (tmp_path / "my-tune.py").write_text(GOOD)
    monkeypatch.setattr(graft.strategies, "_FOLDERS", {tmp_path: "graft/strategies"})
    monkeypatch.setattr(graft.strategies, "__path__", [*graft.strategies.__path__, str(tmp_path)])
    return tmp_path


@pytest.mark.usefixtures("folder")
class TestFaultyFiles:
    def test_a_wrong_class_name_is_named_with_the_right_one(self) -> None:
        with pytest.raises(ValueError, match=r"ill_named\.py: expected a class IllNamed, found Ill_Named$"):
            strategy_class("ill_named")
        with pytest.raises(ValueError, match=r"torn\.py: cannot be imported: SyntaxError"):
            strategy_class("torn")

    def test_a_file_that_can_be_none_says_why(self) -> None:
        message = r"unknown strategy 'my_tune'.*my-tune\.py is not a valid strategy file: its name must"
        with pytest.raises(ValueError, match=message):
            strategy_class("my_tune")

    def test_the_others_are_listed_and_the_faulty_marked(self) -> None:
        page = shown(overview())
        assert "good Does nothing." in page
        assert all(f"✗ graft/strategies/{name}" in page for name in ("ill_named.py", "torn.py", "my-tune.py"))

    def test_a_knob_that_nobody_documented_is_a_knob(self) -> None:
        assert "Knobs: bare = 3" in shown(explain("good"))

    def test_the_check_of_the_parameters_names_the_file(self, tmp_path: Path) -> None:
        text = (ROOT / "params.yaml").read_text().replace("  scratch: {}\n", "  scratch: {}\n  ill_named: {}\n", 1)
        (tmp_path / "params.yaml").write_text(text)
        with pytest.raises(GraftError, match=r"strategies\.ill_named: .*expected a class IllNamed"):
            check_parameters(tmp_path, knobs=True)


def test_a_project_may_have_strategies_of_its_own_but_not_under_names_that_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graft.strategies, "_FOLDERS", dict(graft.strategies._FOLDERS))
    monkeypatch.setattr(graft.strategies, "__path__", [*graft.strategies.__path__])
    own = tmp_path / "strategies"
    look_in(own)
    own.mkdir()
    (own / "good.py").write_text(GOOD)
    (own / "fine_tune.py").write_text(GOOD)
    look_in(own)
    page = shown(overview())
    assert "good Does nothing." in page
    assert "✗ strategies/fine_tune.py is not used: Graft has a strategy of that name" in page
    assert strategy_class("fine_tune").__module__ == "graft.strategies.fine_tune"
    assert strategy_file("fine_tune").parent != own


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("coral", "varies the learning rate and weight: 10 to 1000, evenly in the logarithm."),
        ("scratch", "No knobs. A search (tune) varies the learning rate."),
    ],
)
def test_it_says_what_a_search_varies(name: str, said: str) -> None:
    assert said in shown(explain(name))


def test_a_strategy_that_does_not_train_is_not_searched() -> None:
    assert "search" not in shown(explain("source_only"))
