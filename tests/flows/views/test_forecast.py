"""What `graft forecast` prints, and when it looks at models again."""

from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from flows.commands import forecast as view
from tasks.artifacts.splits import load_split
from tasks.checks.survey import Survey
from tasks.common.errors import GraftError
from tasks.executor.pipeline import Pipeline
from tasks.forecast import write_forecast
from tasks.results.forecast_file import Forecast, read_forecast
from tasks.results.forecast_score import score_forecast
from tasks.results.metrics_file import Summary
from tests.tasks.support.forecast_fixture import by_hand, change, make_project, with_models, write_model
from tests.tasks.support.results_fixture import row, summary
from tests.tasks.test_forecast import LIFTS


def printed(forecast: Forecast, result: Summary | None = None) -> str:
    console = Console(file=StringIO(), width=80)
    console.print(view.forecast_view(forecast, result))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


class TestView:
    def test_words_come_before_numbers_and_the_next_step_last(self) -> None:
        page = printed(by_hand(LIFTS, error=0.04))
        said = " ".join(page.split())
        order = [
            "Large domain gap",
            "warns of negative transfer",
            "1 label per class:",
            "LogME",
            "Proxy A-distance 1.84",
        ]
        assert [said.index(part) for part in order] == sorted(said.index(part) for part in order)
        assert "▲ transfer should help (+20.0 points over an untrained body)" in said
        assert said.endswith("What it is really worth: graft run")

    def test_nothing_is_cut_off_at_eighty_columns(self) -> None:
        page = printed(with_models(by_hand(LIFTS), "another", "pretrained"))
        assert "…" not in page
        assert "[+10.0, +30.0]" in page

    def test_models_are_ranked_in_words_and_numbers(self) -> None:
        said = " ".join(printed(with_models(by_hand(LIFTS), "another", "pretrained")).split())
        assert "Best of 2 source models for this target: another, by LogME with 5 labels per class." in said
        assert said.index("another", said.index("source model LogME")) < said.index("pretrained")

    def test_afterwards_it_says_how_right_it_was(self) -> None:
        forecast = by_hand(LIFTS)
        gains = {cell: lift / 2 for cell, lift in LIFTS.items()}
        scores = {"fine_tune": score_forecast(forecast, gains)}
        said = " ".join(printed(forecast, summary({"fine_tune": row(0.95)}, forecast=scores)).split())
        assert "fine_tune: sign right in 4 of 4 cells (3 gained); order of the gains: tau +1.00" in said
        assert "graft run" not in said

    def test_a_result_without_a_verdict_on_the_forecast_is_no_problem(self) -> None:
        assert "How right" not in printed(by_hand(LIFTS), summary({"fine_tune": row(0.95)}))


class TestShow:
    @pytest.fixture
    def project(self, tmp_path: Path, monkeypatch) -> Path:
        """A project whose pipeline consists of the one stage, run in this process."""
        root = make_project(tmp_path)
        change(root, forecast={"images": 50, "permutations": 99, "untrained": 1})
        self.asked: list[list[str]] = []

        def stages(_: Survey, *targets: str) -> list[SimpleNamespace]:
            state = "up_to_date" if (root / "build/forecast").exists() else "will_run"
            return [SimpleNamespace(name=name, state=state) for name in targets]

        def run(_: Pipeline, targets: list[str]) -> None:
            self.asked.append(targets)
            write_forecast(root)

        monkeypatch.setattr(Survey, "stages", stages)
        monkeypatch.setattr(Survey, "data", lambda *_, **__: None)
        monkeypatch.setattr(Pipeline, "run", run)
        monkeypatch.setattr("tasks.checks.survey.make_ready", lambda root: None)
        monkeypatch.setattr(view, "turn", lambda root: nullcontext())
        return root

    def show(self, root: Path, *folders: Path) -> str:
        console = Console(file=StringIO(), width=100)
        view.show_forecast(root, console, folders)
        return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]

    def test_it_brings_the_stage_up_to_date_and_shows_it(self, project: Path) -> None:
        for _ in range(2):  # the second time there is nothing to run
            assert "domain gap" in self.show(project)
            assert self.asked == [["forecast"]]

    def test_given_folders_are_ranked_and_nothing_is_written(self, project: Path, tmp_path: Path) -> None:
        self.show(project)
        before = (project / "build/forecast/forecast.json").read_bytes()
        write_model(tmp_path / "idle", load_split(project / "build/data/source"), steps=0, channels=3)
        said = self.show(project, tmp_path / "idle")
        assert "Best of 2 source models for this target: pretrained" in said
        assert " idle " in said  # its name is its folder's
        assert (project / "build/forecast/forecast.json").read_bytes() == before

    def test_folders_of_one_name_are_told_apart(self, project: Path, tmp_path: Path, monkeypatch) -> None:
        source = load_split(project / "build/data/source")
        for place in ("a/twin", "b/twin", "c/pretrained"):
            write_model(tmp_path / place, source, steps=0)
        shown: list[Forecast] = []
        monkeypatch.setattr(view, "forecast_view", lambda forecast, _: shown.append(forecast) or "")
        self.show(project, *(tmp_path / place for place in ("a/twin", "b/twin", "c/pretrained")))
        assert len(shown[0].ranking) == 4
        assert shown[0].ranking[0] == "pretrained"

    def test_a_folder_without_a_model_is_refused(self, project: Path, tmp_path: Path) -> None:
        with pytest.raises(GraftError, match=r"nothing: contains no model\.json"):
            self.show(project, tmp_path / "nothing")

    def test_weights_that_were_replaced_are_looked_at_again(self, project: Path, monkeypatch) -> None:
        source = load_split(project / "build/data/source")
        write_model(project / "models/other", source, steps=0)
        settings = {"images": 50, "permutations": 99, "untrained": 1, "models": {"other": "models/other"}}
        change(project, forecast=settings)
        write_forecast(project)
        stale = read_forecast(project)
        monkeypatch.setattr(Survey, "stages", lambda *_: [])
        assert stale.ranking == ("pretrained", "other")
        write_model(project / "models/other", source, steps=150)
        shown: list[Forecast] = []
        monkeypatch.setattr(view, "forecast_view", lambda forecast, _: shown.append(forecast) or "")
        self.show(project)
        assert shown[0].models["other"] != stale.models["other"]
