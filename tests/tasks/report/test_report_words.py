"""What the report says and draws of a result, by results made up for it."""

import base64
import io
import math
import re
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from graft.data.split import Split
from tasks.report.figures.lines import depth_plot, efficiency_panels, efficiency_plot, levels
from tasks.report.figures.palette import MOST_COLOURED, looks
from tasks.report.figures.rows import gain_plot, gains_cut
from tasks.report.figures.svg import FAINT, INK, canvas, style, to_svg
from tasks.report.provenance import blob_id
from tasks.report.source_choice import carrying_share, class_shares, source_choice
from tasks.report.thumbnails import thumbnail
from tasks.results import words
from tasks.results.companions import depth_sweep, oracles, other_companions, swept
from tasks.results.efficiency import Match, candidates_match, label_efficiency, matches_in_words, score_by_labels
from tasks.results.metrics_file import PaidLabels, StrategyRow, Summary
from tasks.results.searches import searches
from tasks.trials.on_disk import Trial
from tasks.trials.plan import Entry
from tests.tasks.support.results_fixture import choosing, companion, row, summary


def test_a_figure_is_the_same_whatever_the_user_has_set() -> None:
    def draw() -> str:
        with style():
            figure = canvas(200, 100)
            figure.subplots().plot([1, 2], [3, 4])
            return to_svg(figure, "name", 'a "quoted" title')

    plain = draw()
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9}):
        assert draw() == plain
    assert 'aria-label="a &quot;quoted&quot; title"' in plain


def test_blob_ids_are_gits(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a line\n" + bytes(range(256)))
    git = subprocess.run(["git", "hash-object", "--no-filters", str(path)], check=True, capture_output=True, text=True)
    assert blob_id(path.read_bytes()) == git.stdout.strip()


def compared(verdict: str, mean: float, low: float | None, high: float | None, chosen: str = "fine_tune") -> Summary:
    strategies = {
        "fine_tune": row(0.9 + mean, verdict, gain=(mean, low, high)),
        "scratch": row(0.9, "baseline"),
        "dann": row(0.92, "positive"),
        "linear_probe": row(0.85, "negative"),
    }
    return summary(strategies, chosen=chosen)


def by_labels(**accuracies: tuple[float, ...]) -> Summary:
    """A result with 1, 5 and 10 labels per class; a strategy with one accuracy needs none."""

    def rows(place: int) -> dict[str, StrategyRow]:
        return {
            name: row(values[0], labels=0) if len(values) == 1 else row(values[place], labels=(1, 5, 10)[place])
            for name, values in accuracies.items()
        }

    return summary(rows(2), smaller={1: rows(0), 5: rows(1)})


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (
            compared("positive", 0.034, 0.012, 0.056),
            "fine_tune transfers: +3.4 points of accuracy over scratch [+1.2, +5.6] with 10 labels per class.",
        ),
        (
            compared("no evidence", 0.0117, -0.0002, 0.0236),
            "No evidence that transfer helps: fine_tune, which the folds chose, "
            "is +1.2 points of accuracy over scratch [−0.02, +2.4] with 10 labels per class.",
        ),
        (
            compared("negative", -0.03, -0.05, -0.01),
            "Transfer hurts: fine_tune, which the folds chose, "
            "is −3.0 points of accuracy over scratch [−5.0, −1.0] with 10 labels per class.",
        ),
        (
            compared("no evidence", 0.05, None, None),
            "No evidence that transfer helps: fine_tune, which the folds chose, "
            "is +5.0 points of accuracy over scratch with 10 labels per class.",
        ),
        (
            compared("positive", 0.03, 0.01, 0.05, chosen="scratch"),
            "Nothing is transferred: with 10 labels per class, the folds chose scratch, "
            "which learns from the target alone.",
        ),
        (
            summary(
                {"mcc": row(0.93, labels=0, gain=(0.03, 0.01, 0.05)), "scratch": row(0.9, "baseline")},
                chosen="mcc",
                budget=PaidLabels(10, 20, 5, (0, 1, 2)),
            ),
            "mcc transfers: +3.0 points of accuracy over scratch [+1.0, +5.0] "
            "with no labels but those that chose it, against 10 labels per class.",
        ),
    ],
)
def test_the_headline_says_the_result(result: Summary, sentence: str) -> None:
    assert words.headline(result) == sentence


def test_a_verdict_that_would_not_hold_for_all_strategies_at_once_says_so() -> None:
    said = [words.verdict_in_words(row(0.9, "positive", holds_among_all=holds)) for holds in (True, False)]
    assert said == ["▲ positive", "▲ positive†"]
    assert words.verdict_in_words(row(0.9, "no evidence", holds_among_all=False)) == "● no evidence"
    assert words.verdict_in_words(row(0.9, "baseline", holds_among_all=False)) == "baseline"


def test_the_second_sentence_leaves_no_strategy_out() -> None:
    assert words.other_verdicts(compared("positive", 0.034, 0.012, 0.056)) == (
        "Positive transfer too: dann (+2.0). Negative transfer (worse than scratch): linear_probe (−5.0)."
    )
    assert words.other_verdicts(compared("positive", 0.03, 0.01, 0.05, chosen="scratch")).startswith(
        "Positive transfer: fine_tune (+3.0) and dann (+2.0)."
    )


def test_of_many_strategies_the_second_sentence_names_the_best_and_counts_the_others() -> None:
    many = {f"s{i}": row(0.95 - i / 1000) for i in range(9)}
    sentence = words.other_verdicts(summary({**many, "scratch": row(0.9, "baseline"), "fine_tune": row(0.97)}))
    assert sentence == "Positive transfer too: s0 (+5.0), s1 (+4.9), s2 (+4.8), s3 (+4.7) and 5 more."


def test_strategies_that_change_nothing_have_a_plot_too() -> None:
    same = summary({"fine_tune": row(0.9, "no evidence", gain=(0.0, 0.0, 0.0)), "scratch": row(0.9, "baseline")})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = gain_plot(same, looks(same))
    assert figure is not None
    assert "0.0 [0.0, 0.0]" in figure


@pytest.mark.parametrize(("side", "shown"), [(16, 16), (64, 64), (200, 64)])
def test_large_pictures_are_shown_small(side: int, shown: int) -> None:
    pixels = torch.randint(256, (3, side, side), dtype=torch.uint8)
    kind, encoded = re.match(r"data:image/(\w+);base64,(.*)", thumbnail(pixels)).groups()
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert (image.size, image.mode) == ((shown, shown), "RGB")
    if side == shown:
        assert kind == "png"
        assert np.array_equal(np.asarray(image), pixels.permute(1, 2, 0))


def test_long_names_keep_both_ends() -> None:
    assert words.short("a short name") == "a short name"
    assert words.short("some class with a long name 17", 14) == "some cl…ame 17"


class TestLabelEfficiency:
    RESULT = by_labels(
        scratch=(0.6, 0.8, 0.9),
        fine_tune=(0.7, 0.9, 0.95),  # 5 labels do for 10
        l2_sp=(0.91, 0.92, 0.97),  # 1 does for 10
        lora=(0.55, 0.79, 0.89),  # worse throughout
        linear_probe=(0.8, 0.81, 0.82),  # 1 does for 5
        mcc=(0.85,),  # none do for 5
        source_only=(0.3,),
    )

    def test_each_strategy_has_the_most_labels_that_it_saves(self) -> None:
        assert label_efficiency(self.RESULT) == [
            Match("l2_sp", 1, 10),
            Match("fine_tune", 5, 10),
            Match("mcc", 0, 5),
            Match("linear_probe", 1, 5),
        ]

    def test_it_is_said_in_words(self) -> None:
        assert matches_in_words(self.RESULT) == [
            "As good as scratch with 10 labels per class: l2_sp with 1; fine_tune with 5.",
            "As good as scratch with 5 labels per class: mcc with none; linear_probe with 1.",
        ]
        assert candidates_match(self.RESULT) == "fine_tune with 5 labels per class is as good as scratch with 10."

    def test_nothing_is_said_where_no_label_is_saved(self) -> None:
        poor = by_labels(scratch=(0.6, 0.8, 0.9), fine_tune=(0.5, 0.7, 0.8))
        assert matches_in_words(poor) == []
        assert candidates_match(poor) == ""

    def test_accuracy_is_listed_under_the_labels_that_were_used(self) -> None:
        found = score_by_labels(self.RESULT)
        assert list(found) == ["l2_sp", "fine_tune", "scratch", "lora", "mcc", "linear_probe", "source_only"]
        assert {labels: value.mean for labels, value in found["fine_tune"].items()} == {1: 0.7, 5: 0.9, 10: 0.95}
        assert {labels: value.mean for labels, value in found["mcc"].items()} == {0: 0.85}

    def test_the_figure_has_a_tick_a_budget_and_names_all_lines(self) -> None:
        figure = efficiency_plot(self.RESULT, looks(self.RESULT))
        ticks = re.findall(r">(\d+)</text>", figure)
        assert ticks == ["1", "5", "10"]
        assert all(f">{name}</text>" in figure for name in self.RESULT.strategies)
        assert set(efficiency_panels(self.RESULT, looks(self.RESULT))) == set(self.RESULT.strategies) - {"scratch"}

    def test_all_labels_stand_at_their_mean_number_and_save_labels_too(self) -> None:
        few = by_labels(scratch=(0.6, 0.8, 0.9), fine_tune=(0.7, 0.9, 0.95), mcc=(0.85,))
        strategies = {
            name: replace(found, labels_per_class=found.labels_per_class and "all")
            for name, found in few.strategies.items()
        }
        budget = replace(few.budget, labels_per_class="all", n_paid=75)
        found = replace(few, strategies=strategies, budget=budget)
        assert matches_in_words(found)[0] == "As good as scratch with all labels: fine_tune with 5."
        assert list(score_by_labels(found)["fine_tune"]) == [1, 5, "all"]
        figure = efficiency_plot(found, looks(found))
        assert re.findall(r">(\d+|all)</text>", figure) == ["1", "5", "all"]
        places = [float(x) for x in re.findall(r' x="([\d.]+)"[^>]*>(?:1|5|all)</text>', figure)]
        first, second, last = places
        assert (last - second) / (second - first) == pytest.approx(math.log(37.5 / 5) / math.log(5), abs=0.01)

    def test_a_strategy_without_labels_that_beats_all_others_is_in_the_figure(self) -> None:
        best = by_labels(scratch=(0.5, 0.55, 0.6), fine_tune=(0.5, 0.55, 0.6), mcc=(0.9,))
        panel = efficiency_panels(best, looks(best))["mcc"]
        assert max(int(tick) for tick in re.findall(r">(\d+)</text>", panel)) >= 80

    def test_one_budget_makes_no_figure(self) -> None:
        one = summary(self.RESULT.strategies)
        assert efficiency_plot(one, looks(one)) is None
        assert efficiency_panels(one, looks(one)) == {}


class TestArrows:
    """A caption speaks of arrows only where there are some."""

    RESULT = by_labels(scratch=(0.6, 0.8, 0.9), fine_tune=(0.7, 0.9, 0.95), source_only=(0.3,))

    @staticmethod
    def gains(**gains: tuple[float, float, float]) -> Summary:
        return summary({"scratch": row(0.9, "baseline"), **{name: row(0.9, gain=gain) for name, gain in gains.items()}})

    def test_gains_that_fit_have_none(self) -> None:
        assert not gains_cut(self.gains(a=(0.02, 0.01, 0.03), b=(-0.01, -0.02, 0.0)))
        assert not gains_cut(summary({"scratch": row(0.9, "baseline")}))

    @pytest.mark.parametrize("far", [(-0.5, -0.6, -0.4), (0.02, -0.4, 0.44)])
    def test_a_gain_or_an_interval_that_goes_on_outside_has_one(self, far: tuple[float, float, float]) -> None:
        few = self.gains(a=(0.02, 0.01, 0.03), b=(-0.01, -0.02, 0.0), c=(0.01, 0.0, 0.02), d=(0.0, -0.01, 0.01))
        far_out = self.gains(**dict.fromkeys("abcd", (0.02, 0.01, 0.03)), e=far)
        assert not gains_cut(few)
        assert gains_cut(far_out)

    def test_levels_below_the_plot_are_told_from_those_in_it(self) -> None:
        assert levels(self.RESULT, looks(self.RESULT)) == {"shown": False, "below": True}
        better = by_labels(scratch=(0.6, 0.8, 0.9), mcc=(0.85,))
        assert levels(better, looks(better)) == {"shown": True, "below": False}


class TestManyStrategies:
    RESULT = summary({**{f"s{i:02}": row(0.95 - i / 1000) for i in range(22)}, "scratch": row(0.9, "baseline")})

    def test_the_best_and_the_candidates_have_colours_and_the_others_are_grey(self) -> None:
        found = looks(choosing(self.RESULT, "s21"))
        coloured = [name for name, look in found.items() if not look.faint and name != "scratch"]
        assert coloured == ["s00", "s01", "s02", "s03", "s04", "s21"]
        assert len({found[name].colour for name in coloured} | {FAINT, INK}) == MOST_COLOURED + 2
        assert found["scratch"].colour == INK
        assert {look.colour for look in found.values() if look.faint} == {FAINT}
        assert [name for name, look in found.items() if look.band] == ["scratch", "s21"]

    def test_a_legend_names_those_in_colour_and_counts_the_others(self) -> None:
        smaller = {1: {name: replace(found, labels_per_class=1) for name, found in self.RESULT.strategies.items()}}
        result = replace(choosing(self.RESULT, "s00"), smaller_budgets=smaller)
        figure = efficiency_plot(result, looks(result))
        assert re.findall(r">(s\d\d|scratch|\d+ others)</text>", figure) == [
            *("scratch", "s00", "s01", "s02", "s03", "s04", "s05"),
            "16 others",
        ]

    def test_every_gain_has_a_row_with_its_name(self) -> None:
        figure = gain_plot(self.RESULT, looks(choosing(self.RESULT, "s00")))
        assert len(re.findall(r">s\d\d</text>", figure)) == 22


class TestCompanions:
    RESULT = summary(
        {"scratch": row(0.9, "baseline"), "dann": row(0.8, labels=0), "layer_transfer": row(0.95)},
        chosen="layer_transfer",
        companions={
            "dann": {0: {"oracle": companion(0.85)}},
            "layer_transfer": {
                10: {f"depth {depth} of 10": companion(0.9 + depth / 1000) for depth in (10, 9, 0)},
                1: {"depth 2": companion(0.5), "another": companion(0.1)},
            },
        },
    )

    def test_an_oracle_is_found_beside_its_strategy_alone(self) -> None:
        assert {name: value.mean for name, value in oracles(self.RESULT).items()} == {"dann": 0.85}

    def test_a_sweep_is_ordered_by_labels_and_by_the_number_of_stages(self) -> None:
        found = depth_sweep(self.RESULT, "layer_transfer")
        assert list(found) == [1, 10]
        assert list(found[10]) == [0, 9, 10]
        assert list(found[1]) == [2]
        assert swept(self.RESULT) == "layer_transfer"

    def test_companions_of_another_kind_are_listed(self) -> None:
        found = other_companions(self.RESULT)
        assert list(found) == [("layer_transfer", "another")]
        assert found["layer_transfer", "another"][1].mean == 0.1

    def test_the_figure_of_a_sweep_has_a_line_a_budget(self) -> None:
        figure = depth_plot(self.RESULT, looks(self.RESULT))
        assert ">1 label per class</text>" in figure
        assert ">10 labels per class</text>" in figure

    def test_without_a_sweep_there_is_no_figure(self) -> None:
        plain = replace(self.RESULT, companions={})
        assert depth_plot(plain, looks(plain)) is None


class TestSourceChoice:
    def test_the_share_that_carries_nine_draws_of_ten(self) -> None:
        assert carrying_share(torch.full((10,), 0.1)) == 0.9
        assert carrying_share(torch.tensor([0.0, 0.5, 0.45, 0.05, 0.0])) == 2 / 5

    def test_classes_are_ordered_by_how_much_more_they_are_drawn_than_others(self) -> None:
        labels = torch.tensor([0, 0, 0, 1, 3, 3])
        source = Split(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), labels, ("ant", "bee", "none", "dog"))
        found = class_shares(torch.tensor([0.1, 0.1, 0.1, 0.3, 0.2, 0.2]), source)
        assert [share.name for share in found] == ["bee", "dog", "ant"]
        alike = class_shares(torch.tensor([0.1666, 0.1666, 0.1668, 0.16672, 0.16668, 0.1666]), source)
        assert [share.name for share in alike] == ["ant", "bee", "dog"], "what looks the same goes by name"
        assert (found[0].of_pictures, found[0].of_draws) == pytest.approx((1 / 6, 0.3))

    def test_the_sheets_show_what_is_drawn_most_and_least(self) -> None:
        images = torch.arange(250, dtype=torch.uint8).view(250, 1, 1, 1).expand(-1, 1, 4, 4)
        source = Split(images, torch.zeros(250, dtype=torch.long), ("all",))
        weights = torch.zeros(2, 250)
        weights[:, 100:] = torch.arange(150.0)
        found = source_choice("adaptive_sampling", weights, source)
        most, least = (np.asarray(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1])))) for data in
                       (found.most, found.least))  # fmt: skip
        assert most[1::5, 1::5][0].tolist() == list(range(249, 239, -1))
        assert least[1::5, 1::5].max() <= 100  # never drawn, every one of them


def test_numbers_of_a_search_are_plain() -> None:
    metrics = {"search": [{"learning_rate": 1.0, "weight": 1.0, "objective": 1.0}] * 2}

    def trial(rate: float, weight: object) -> Trial:
        found = {**metrics, "learning_rate": rate, "knobs": {"weight": weight}}
        return Trial(Entry("coral", 4, 0), Path(), found, [])

    (found,) = searches([trial(0.00001234, 100.0), trial(0.01, 1234.5), trial(3.0, 16)])
    assert (found.trainings, found.rates) == (2, "0.0000123, 0.01, 3")
    assert found.knob == "weight: 100, 1230, 16"
