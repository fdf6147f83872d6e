"""The stage `forecast` on a tiny project, its words, and how it is judged afterwards."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from graft.data.sampling import draw_labels, folds
from graft.measures.findings import DomainGap, Interval
from graft.measures.transferability import leep, logme, probe_accuracy
from graft.networks.network import Description, predict
from tasks.artifacts.networks import load_network
from tasks.artifacts.packed import fit_pictures
from tasks.artifacts.splits import load_split, save_split
from tasks.common.errors import GraftError
from tasks.common.typed_json import typed
from tasks.datasets.pictures import convert, fit
from tasks.forecast import forecast, ranked_by, write_forecast
from tasks.report.figures.forecast import outlook
from tasks.results import forecast_words, words
from tasks.results.forecast_file import Forecast, read_forecast
from tasks.results.forecast_score import rank_correlation, realised_gains, score_forecast, score_ranking
from tasks.results.metrics_file import ForecastScore, PaidLabels, StrategyRow, Summary
from tasks.settings.forecast import ForecastSettings
from tests.house.imports import ROOT
from tests.tasks.support.forecast_fixture import CLASSES, by_hand, change, make_project, rows, with_models, write_model
from tests.tasks.support.results_fixture import choosing, row, score, summary

SETTINGS = ForecastSettings(images=100, permutations=99, untrained=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project; read only."""
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def found(made: Path) -> Forecast:
    """Its forecast; read only."""
    return forecast(made, SETTINGS)


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """The same project, to change."""
    shutil.copytree(made, tmp_path / "project")
    return tmp_path / "project"


class TestStage:
    def test_scores_are_those_of_the_pictures_that_each_trial_learns_from(self, made: Path, found) -> None:
        network, pool = load_network(made / "build/pretrained"), load_split(made / "build/data/pool")
        cells = found.models["pretrained"].cells
        assert [(cell.labels, cell.seed) for cell in cells] == [(n, s) for n in (2, 5) for s in range(3)]
        for cell in cells:
            paid = draw_labels(pool, cell.labels, cell.seed).labelled
            probabilities, features = predict(network, paid.images)
            right = 0.0
            for held in folds(paid, 5):
                rest = torch.ones(len(paid), dtype=torch.bool).index_fill(0, held, value=False)
                found = features[rest], paid.labels[rest], features[held], paid.labels[held]
                right += len(held) * probe_accuracy(*found)
            assert cell.source.probe == pytest.approx(right / len(paid), abs=1e-4)
            assert cell.source.logme == pytest.approx(logme(features, paid.labels), rel=1e-3)
            assert cell.source.leep == pytest.approx(leep(probabilities, paid.labels), rel=1e-3)

    def test_a_probe_of_one_label_per_class_is_tested_on_what_larger_budgets_pay_for(self, project: Path) -> None:
        change(project, label_budgets=[1, 5])
        cell = forecast(project, replace(SETTINGS, untrained=1)).own_cells[0]
        network, pool = load_network(project / "build/pretrained"), load_split(project / "build/data/pool")
        one, five = (draw_labels(pool, labels, 0).paid for labels in (1, 5))
        held = pool.take(five[~torch.isin(five, one)])
        known, tested = (predict(network, split.images)[1] for split in (pool.take(one), held))
        assert cell.source.probe == pytest.approx(
            probe_accuracy(known, pool.labels[one], tested, held.labels), abs=1e-4
        )

    def test_where_one_label_per_class_is_all_no_probe_is_tested(self, project: Path) -> None:
        change(project, label_budgets=[1])
        found = forecast(project, replace(SETTINGS, untrained=1))
        (budget,) = found.own_budgets
        assert (budget.source.probe, budget.lift.probe, budget.expected) == (None, None, "no evidence")
        assert forecast_words.warning(found) is not None

    def test_means_lifts_and_expectations_follow_from_the_cells(self, found) -> None:
        model = found.models["pretrained"]
        assert [budget.labels for budget in model.budgets] == [2, 5]
        for budget in model.budgets:
            cells = [cell for cell in model.cells if cell.labels == budget.labels]
            lifts = [cell.source.probe - cell.random.probe for cell in cells]
            assert budget.source.probe == pytest.approx(np.mean([c.source.probe for c in cells]), abs=1e-3)
            assert budget.lift.probe.mean == pytest.approx(np.mean(lifts), abs=1e-3)
            low, high = budget.lift.probe.low, budget.lift.probe.high
            assert budget.expected == ("positive" if low > 0 else "negative" if high < 0 else "no evidence")

    def test_a_source_that_fits_is_ahead_of_untrained_bodies(self, found) -> None:
        for budget in found.models["pretrained"].budgets:
            assert budget.lift.probe.mean > 0.05
            assert budget.lift.logme.mean > 0.2
            assert budget.source.leep > -1.2  # chance: -log 4 = -1.39

    def test_it_is_written_alike_each_time_and_needs_no_test_split(self, project: Path) -> None:
        change(project, forecast={"images": 50, "permutations": 99, "untrained": 2})
        assert not (project / "build/data/test").exists()
        write_forecast(project)
        first = (project / "build/forecast/forecast.json").read_bytes()
        torch.manual_seed(99)
        write_forecast(project)
        assert (project / "build/forecast/forecast.json").read_bytes() == first
        assert json.loads(first)["gap"]["images"] == 50
        assert json.loads(first) == json.loads(json.dumps(read_forecast(project).to_json()))

    def test_a_gap_is_seen_and_none_where_there_is_none(self, project: Path, found) -> None:
        assert forecast_words.gap_size(found.gap) == "large"
        images, labels = rows(160, seed=9)
        save_split(project / "build/data/pool", images, labels, CLASSES)
        assert forecast_words.gap_size(forecast(project, SETTINGS).gap) == "small"

    def test_too_few_pictures_give_no_gap_and_words_that_say_so(self, project: Path) -> None:
        images, labels = rows(8, seed=0)
        save_split(project / "build/data/source", images, labels, CLASSES)
        found = forecast(project, SETTINGS)
        assert found.gap is None
        assert "too little of a domain" in forecast_words.gap_in_words(found)

    def test_source_models_of_other_classes_sizes_and_channels_are_ranked(self, project: Path, tmp_path: Path) -> None:
        source = load_split(project / "build/data/source")
        write_model(project / "models/idle", source, steps=0)
        write_model(tmp_path / "colour", source, size=12, channels=3)
        wild = load_split(project / "build/data/pool")
        save_split(project / "build/data/pool", wild.images.numpy(), wild.labels.numpy(), ["w", "x", "y", "z"])
        settings = ForecastSettings(models={"idle": "models/idle"}, images=50, permutations=99, untrained=1)
        found = forecast(project, settings, {"colour": tmp_path / "colour"})
        assert set(found.ranking[:2]) == {"pretrained", "colour"}
        assert found.ranking[2] == "idle"
        assert found.models["colour"].input == (3, 12, 12)
        assert "Best of 3 source models" in forecast_words.ranking_in_words(found)

    def test_every_model_that_cannot_be_used_is_named(self, project: Path) -> None:
        models = {"pretrained": "build/pretrained", "away": "../elsewhere", "none": "models/none"}
        with pytest.raises(GraftError) as caught:
            forecast(project, ForecastSettings(models=models))
        assert len(caught.value.problems) == 3
        for part in (
            "'pretrained' is the project's own",
            "'../elsewhere' is outside",
            "'models/none' contains no model",
        ):
            assert part in str(caught.value)

    def test_all_labels_are_a_budget_too(self, project: Path) -> None:
        change(project, label_budgets=["all", 2])
        found = forecast(project, replace(SETTINGS, untrained=1))
        assert [row.labels for row in found.own_budgets] == [2, "all"]
        assert found.ranked_by == "logme"
        poor = by_hand({(2, 0): -0.1, ("all", 0): -0.1}, expected="negative")
        assert "With 2 and all labels expect negative transfer" in forecast_words.warning(poor)

    def test_a_budget_that_cannot_be_had_is_refused(self, project: Path) -> None:
        change(project, label_budgets=[1, 40])
        with pytest.raises(GraftError, match=r"label_budgets: 40 labels per class are asked for, and class ant has 30"):
            forecast(project, SETTINGS)


@pytest.mark.parametrize(("channels", "wanted", "size"), [(3, 1, 20), (1, 3, 20), (3, 3, 9), (1, 1, 33), (3, 1, 12)])
def test_pictures_are_brought_to_a_models_input_as_the_pipeline_would(channels: int, wanted: int, size: int) -> None:
    rough = torch.randint(0, 256, (5, channels, 6, 6), generator=torch.Generator().manual_seed(0)).float()
    pictures = torch.nn.functional.interpolate(rough, (20, 20), mode="bicubic").clamp(0, 255).to(torch.uint8)
    found = fit_pictures(pictures, Description("convnet_tiny", ("a", "b"), wanted, size))
    assert found.dtype == torch.uint8
    for ours, picture in zip(found.numpy(), pictures.numpy(), strict=True):
        image = Image.fromarray(picture[0] if channels == 1 else picture.transpose(1, 2, 0))
        theirs = fit(convert(image, wanted), size)
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.parametrize(
    ("error", "size", "distance"),
    [(0.5, "small", 0.0), (0.35, "small", 0.6), (0.2, "moderate", 1.2), (0.05, "large", 1.8)],
)
def test_the_gap_in_words_and_numbers(error: float, size: str, distance: float) -> None:
    gap = DomainGap(300, distance, error, mmd=0.0123, mmd_p_value=0.005, frechet=22.64, frechet_within=3.4)
    said = forecast_words.gap_in_words(replace(by_hand(LIFTS), gap=gap))
    assert said.startswith(f"{size.capitalize()} domain gap")
    assert f"{100 * (1 - error):.0f} % of held-out cases" in said
    numbers = forecast_words.gap_in_numbers(gap)
    assert f"Proxy A-distance {distance:.2f}, of 0 to 2" in numbers
    assert "Fréchet distance 22.6, 3.4 within a domain" in numbers


LIFTS = {(1, 0): 0.4, (1, 1): 0.3, (5, 0): 0.1, (5, 1): -0.05}


class TestWarning:
    def test_a_large_gap_warns_of_negative_transfer(self) -> None:
        said = forecast_words.warning(by_hand(LIFTS, error=0.04))
        assert said.startswith("A large gap warns of negative transfer, but")
        assert forecast_words.warning(by_hand(LIFTS, error=0.3)) == ""

    def test_features_behind_untrained_ones_warn_whatever_the_gap(self) -> None:
        for error in (0.04, 0.4):
            said = forecast_words.warning(by_hand(LIFTS, expected="negative", error=error))
            assert (
                "With 1 and 5 labels per class expect negative transfer: the source's features are behind "
                "untrained ones" in said
            )
            assert ", but" not in said
        without_gap = replace(by_hand(LIFTS, expected="negative"), gap=None)
        assert "expect negative transfer" in forecast_words.warning(without_gap)

    def test_a_modest_lift_does_not_carry_a_frozen_body(self) -> None:
        forecast = by_hand(LIFTS)
        model = forecast.models["pretrained"]
        first, second = model.budgets
        modest = replace(second, lift=replace(second.lift, probe=Interval(0.06, 0.02, 0.1)))
        forecast = replace(forecast, models={"pretrained": replace(model, budgets=(first, modest))})
        said = forecast_words.warning(forecast)
        assert said.startswith("With 5 labels per class expect linear_probe near scratch or below it")
        assert "less than 10 points" in said

    def test_with_few_labels_logme_ranks_nothing(self) -> None:
        assert [ranked_by(labels) for labels in (1, 2, 3, 10)] == ["probe", "probe", "logme", "logme"]


class TestScore:
    def test_order_and_signs_by_hand(self) -> None:
        gains = {(1, 0): 0.2, (1, 1): 0.1, (5, 0): -0.03, (5, 1): -0.02}
        found = score_forecast(by_hand(LIFTS), gains)
        assert (found.n, found.gained) == (4, 2)
        assert found.right_sign == 3
        # Of six pairs of cells one, (5, 0) and (5, 1), is in the wrong order: (5 - 1) / 6. Rho: 1 - 6 * 2 / 60.
        assert found.rank.kendall == pytest.approx(4 / 6, abs=1e-3)
        assert found.rank.spearman == pytest.approx(0.8)
        assert found.optimism == pytest.approx(0.1875 - 0.0625)
        assert typed(json.loads(json.dumps(asdict(found), allow_nan=False)), ForecastScore) == found
        said = forecast_words.rightness("fine_tune", found)
        assert "sign right in 3 of 4 cells (2 gained)" in said
        assert "tau +0.67" in said

    def test_only_cells_that_ran_count_and_few_have_no_order(self) -> None:
        found = score_forecast(by_hand(LIFTS), {(1, 0): 0.2, (5, 0): 0.1, (7, 0): 0.3})
        assert found.n == 2
        assert found.rank is None
        assert "tau" not in forecast_words.rightness("fine_tune", found)
        assert score_forecast(by_hand(LIFTS), {}).n == 0

    def test_a_rank_correlation_tells_chance_from_order(self) -> None:
        rising = rank_correlation(range(10), range(10))
        assert rising is not None
        assert rising.kendall == rising.spearman == 1.0
        assert rising.kendall_p < 0.001
        assert rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
        assert rank_correlation([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]) is None

    def test_gains_are_read_from_the_result(self) -> None:
        gains = realised_gains(gained(), "fine_tune")
        assert gains == {(1, 0): 0.2, (1, 1): 0.1, (5, 0): -0.03, (5, 1): -0.02}

    def test_several_models_are_judged_by_what_they_reached(self) -> None:
        lifts = {"pretrained": 0.1, "b": 0.2, "c": 0.3, "unknown": 0.9}
        models = {name: by_hand({(5, 0): value}).models["pretrained"] for name, value in lifts.items()}
        judged = score_ranking(replace(by_hand(LIFTS), models=models), {"pretrained": 0.9, "b": 0.8, "c": 0.95})
        assert judged.n == 3
        assert judged.rank["probe"].kendall == pytest.approx(1 / 3, abs=1e-3)
        assert judged.rank["logme"].kendall == pytest.approx(-1 / 3, abs=1e-3)


def gained() -> Summary:
    """A result in which fine_tune gains 20, 10, -3 and -2 points."""

    def rows(labels: int, scratch: list[float], fine_tune: list[float]) -> dict[str, StrategyRow]:
        values = {"scratch": scratch, "fine_tune": fine_tune}
        return {
            name: row(0.9, labels=labels, accuracy=score(sum(seeds) / 2, seeds=seeds)) for name, seeds in values.items()
        }

    return summary(
        rows(5, [0.9, 0.9], [0.87, 0.88]),
        smaller={1: rows(1, [0.6, 0.7], [0.8, 0.8])},
        budget=PaidLabels(5, 20, 5, (0, 1)),
    )


class TestReport:
    def render(self, forecast: Forecast, result: Summary) -> str:
        environment = Environment(
            loader=FileSystemLoader(ROOT / "tasks/report/templates"), autoescape=True, undefined=StrictUndefined
        )
        for filter_ in (words.percent, words.points, words.interval, words.short):
            environment.filters[filter_.__name__] = filter_
        template = environment.get_template("forecast.html.j2")
        return template.render(outlook=outlook(forecast, result), symbols=words.SYMBOLS, things="images")

    def test_words_numbers_and_what_came_of_it(self) -> None:
        forecast, result = by_hand(LIFTS, error=0.04), gained()
        result = replace(result, forecast={"fine_tune": score_forecast(forecast, realised_gains(result, "fine_tune"))})
        page = self.render(forecast, result)
        assert "Large domain gap" in page
        assert "warns of negative transfer" in page
        assert "+15.0" in page  # the mean gain with 1 label per class
        assert "3 of 4" in page
        assert "+0.67" in page
        assert page.count("<svg") == 1
        assert "Source models" not in page

    def test_names_of_models_cannot_run(self) -> None:
        nasty = "<script>alert(1)</script>"
        page = self.render(with_models(by_hand(LIFTS), nasty, "pretrained"), gained())
        assert nasty not in page
        assert "&lt;script&gt;" in page

    def test_without_a_strategy_that_transfers_there_is_nothing_to_compare(self) -> None:
        result = gained()
        smaller = {labels: {"scratch": rows["scratch"]} for labels, rows in result.smaller_budgets.items()}
        result = replace(choosing(result, "scratch"), strategies={"scratch": result.chosen}, smaller_budgets=smaller)
        assert "<svg" not in self.render(by_hand(LIFTS), result)
