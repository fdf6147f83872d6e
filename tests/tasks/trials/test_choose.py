"""The candidate is chosen by paid labels that were held out, compared image by image."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.trials.choose import Contender, _effects, choose_strategy
from tasks.trials.out_of_fold import OutOfFold
from tasks.trials.plan import read_plan


def contender(name: str, right: dict[int, dict[int, bool]], cost: float = 1.0, label: int = 0) -> Contender:
    """By seed and place, whether it is right about an image of class `label`."""

    def answers(found: dict[int, bool]) -> OutOfFold:
        said = np.array([[0.9, 0.1] if is_right == (label == 0) else [0.1, 0.9] for is_right in found.values()])
        return OutOfFold(np.array([*found]), np.full(len(found), label), said.reshape(-1, 2).astype(np.float32))

    return Contender(name, {seed: answers(found) for seed, found in right.items()}, (cost,))


def images(right: int, of: int, start: int = 0) -> dict[int, bool]:
    return {start + place: place < right for place in range(of)}


def test_the_best_out_of_fold_is_chosen_over_all_seeds() -> None:
    better = contender("better", {0: images(30, 50), 1: images(40, 50)})
    worse = contender("worse", {0: images(20, 50), 1: images(35, 50)}, cost=0.1)
    assert choose_strategy([worse, better], "accuracy") == "better"


def test_of_those_that_are_tied_the_cheapest_is_chosen() -> None:
    found = [contender(name, {0: images(30, 50)}, cost) for name, cost in (("a", 3), ("b", 1), ("c", 2))]
    assert choose_strategy(found, "accuracy") == "b"


def test_of_the_cheapest_the_steadiest_is_chosen_and_then_the_first_by_name() -> None:
    steady = contender("steady", {0: images(25, 50), 1: images(25, 50)})
    wild = contender("a wild one", {0: images(50, 50), 1: images(0, 50)})
    assert choose_strategy([wild, steady], "accuracy") == "steady"
    twins = [contender(name, {0: images(25, 50)}) for name in ("y", "x")]
    assert choose_strategy(twins, "accuracy") == "x"


def test_one_that_was_asked_about_easy_images_only_gains_nothing() -> None:
    """It is right about 18 of 20, and the other about 60 of 100; on the images that both share, 18 against 20."""
    everywhere = contender("everywhere", {0: {place: place < 60 for place in range(100)}}, cost=9)
    easy = contender("easy", {0: {place: place < 18 for place in range(20)}})
    assert choose_strategy([everywhere, easy], "accuracy") == "everywhere"


def test_where_classes_count_alike_the_rare_one_weighs_more() -> None:
    def both(name: str, common: int, rare: int) -> Contender:
        one, other = contender(name, {0: images(common, 90)}), contender(name, {0: images(rare, 10, 90)}, label=1)
        joined = OutOfFold(*(np.concatenate([getattr(x.answers[0], f) for x in (one, other)]) for f in FIELDS))
        return Contender(name, {0: joined}, (1.0,))

    found = [both("of the common", 90, 0), both("of both", 70, 9)]
    assert choose_strategy(found, "accuracy") == "of the common"
    assert choose_strategy(found, "balanced_accuracy") == "of both"


FIELDS = ("places", "labels", "probabilities")


def test_where_nothing_could_be_held_out_the_first_in_the_list_is_chosen() -> None:
    places = {"a": 2, "b": 1, "c": 3}
    found = [Contender(name, {0: OutOfFold.none(2)}, (float(-place),), place) for name, place in places.items()]
    assert choose_strategy(found, "accuracy") == "b"


def test_the_list_is_that_of_params_yaml_with_the_baseline_last(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(
        "seeds: [0]\nlabel_budgets: [1]\nstrategies: {scratch: {}, lp_ft: {}, fine_tune: {}}\nlabel_free: {mcc: {}}\n"
        "every_source: [lp_ft]\nsources: {other: {}}\n"
    )
    plan = read_plan(params)
    assert plan.listed == ("lp_ft", "fine_tune", "lp_ft@other", "mcc", "scratch")
    assert plan.strategies == ("fine_tune", "lp_ft", "lp_ft@other", "scratch")


@given(seed=st.integers(0, 1000), strategies=st.integers(2, 5), count=st.integers(6, 30))
def test_effects_are_those_of_least_squares(seed: int, strategies: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 2, (strategies, count)).astype(float)
    scores[1:][generator.random((strategies - 1, count)) < 0.4] = np.nan
    scores[:, :2] = generator.integers(0, 2, (strategies, 2))  # all share some
    rows, columns = np.nonzero(~np.isnan(scores))
    design = np.zeros((len(rows), strategies + count))
    design[np.arange(len(rows)), rows] = design[np.arange(len(rows)), strategies + columns] = 1
    expected = np.linalg.lstsq(design, scores[rows, columns], rcond=None)[0][:strategies]
    np.testing.assert_allclose(_effects(scores), expected - expected.mean(), atol=1e-8)


def test_answers_are_read_as_they_were_written(tmp_path) -> None:
    answers = contender("a", {0: images(3, 7)}).answers[0]
    answers.save(tmp_path / "one.npz")
    answers.save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    again = OutOfFold.load(tmp_path / "one.npz")
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(again, name), getattr(answers, name))
    assert answers.loss == pytest.approx(-(3 * np.log(0.9) + 4 * np.log(0.1)) / 7, rel=1e-6)
