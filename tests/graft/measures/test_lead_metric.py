"""Metrics that rank strategies: compared with scikit-learn, and their gains with a direct bootstrap."""

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch

from graft.measures.comparison import gains_over, p_values_over, pairwise_p_values
from graft.measures.findings import verdict
from graft.measures.lead_metric import ScoredPredictions, lead_metric

METRICS = {
    "accuracy": sklearn.metrics.accuracy_score,
    "balanced_accuracy": sklearn.metrics.balanced_accuracy_score,
    "macro_f1": lambda true, said: sklearn.metrics.f1_score(true, said, average="macro"),
}
OTHERS = [name for name in METRICS if name != "accuracy"]


def guesses(
    *rates: float, seeds: int = 3, shares: tuple[float, ...] = (0.7, 0.2, 0.1), n: int = 120, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions (M, S, N) of one strategy per success rate, and labels (N,) of classes with those shares."""
    random = np.random.default_rng(seed)
    labels = random.choice(len(shares), n, p=shares)
    said = random.integers(0, len(shares), (len(rates), seeds, n))
    knows = random.random((len(rates), seeds, n)) < np.array(rates)[:, None, None]
    return torch.from_numpy(np.where(knows, labels, said)), torch.from_numpy(labels)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(5))
def test_the_mean_of_the_contributions_is_the_metric(metric: str, seed: int) -> None:
    # An extra class, which no image has and only some networks predict.
    said, labels = guesses(0.5, 0.9, shares=(0.6, 0.3, 0.1, 0.0), n=60, seed=seed)
    said[0, 0][said[0, 0] == 3] = 1
    found = ScoredPredictions(said, labels, 4, metric).contributions().mean(dim=2)
    for m in range(2):
        for s in range(3):
            assert found[m, s].item() == pytest.approx(METRICS[metric](labels, said[m, s]))


@pytest.mark.parametrize("metric", OTHERS)
def test_a_contribution_is_how_the_metric_moves_with_the_weight_of_a_picture(metric: str) -> None:
    said, labels = guesses(0.6, seeds=1, n=40)
    found = ScoredPredictions(said, labels, 3, metric).contributions()[0, 0]
    measure = {
        "balanced_accuracy": lambda w: np.mean(
            sklearn.metrics.recall_score(labels, said[0, 0], average=None, sample_weight=w)
        ),
        "macro_f1": lambda w: sklearn.metrics.f1_score(labels, said[0, 0], average="macro", sample_weight=w),
    }[metric]
    ones, step = np.ones(40), 1e-4
    for i in range(40):
        bump = step * (np.arange(40) == i)
        slope = (measure(ones + bump) - measure(ones - bump)) / (2 * step)
        assert found[i].item() == pytest.approx(measure(ones) + 40 * slope, abs=1e-5)


@pytest.mark.parametrize("metric", OTHERS)
def test_a_resample_has_the_metric_of_its_pictures(metric: str) -> None:
    said, labels = guesses(0.5, 0.8, seeds=2, n=25)
    random = np.random.default_rng(1)
    drawn = random.integers(0, 25, (30, 25))  # some lack the rare class
    times = torch.from_numpy(np.stack([np.bincount(row, minlength=25) for row in drawn])).double()
    found = ScoredPredictions(said, labels, 3, metric).resampled(times)
    assert found.shape == (30, 2)
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(UserWarning)  # classes that are predicted but absent
        for r, row in enumerate(drawn):
            for m in range(2):
                by_hand = np.mean([METRICS[metric](labels[row], one[row]) for one in said[m]])
                assert found[r, m].item() == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("metric", OTHERS)
def test_where_only_pictures_vary_a_gain_has_the_ordinary_paired_bootstraps_interval(metric: str) -> None:
    said, labels = guesses(0.5, 0.75, seeds=1, n=300)
    said = said.repeat(1, 2, 1)
    answers = ScoredPredictions(said, labels, 3, metric)
    found = gains_over(answers.contributions(), 0, confidence=0.9, resamples=4000, seed=0, resampled=answers.resampled)[
        1
    ]
    one, other, true = said[0, 0].numpy(), said[1, 0].numpy(), labels.numpy()

    def gain(places: np.ndarray) -> float:
        return METRICS[metric](true[places], other[places]) - METRICS[metric](true[places], one[places])

    random = np.random.default_rng(0)
    drawn = [gain(random.integers(0, 300, 300)) for _ in range(1000)]
    low, high = np.quantile(drawn, [0.05, 0.95])
    assert found.mean == pytest.approx(gain(np.arange(300)))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.12 * (high - low))


@pytest.mark.parametrize("metric", OTHERS)
def test_the_same_answers_gain_exactly_nothing_and_swapped_sides_mirror(metric: str) -> None:
    said, labels = guesses(0.6, 0.8)
    answers = ScoredPredictions(torch.cat([said, said[:1]]), labels, 3, metric)
    how = {"confidence": 0.95, "resamples": 1000, "seed": 0, "resampled": answers.resampled}
    there, back = gains_over(answers.contributions(), 0, **how), gains_over(answers.contributions(), 1, **how)
    assert (there[2].mean, there[2].low, there[2].high) == (0, 0, 0)
    assert (back[0].low, back[0].high) == pytest.approx((-there[1].high, -there[1].low))


def test_a_rare_class_decides_where_each_class_counts_alike() -> None:
    labels = torch.tensor([0] * 180 + [1] * 20)
    always_first = torch.zeros(3, 200, dtype=torch.long)
    finds_the_rare = labels.repeat(3, 1)
    finds_the_rare[:, :30] = 1  # and gets some of the frequent ones wrong
    said = torch.stack([always_first, finds_the_rare])
    verdicts = {}
    for metric in METRICS:
        answers = ScoredPredictions(said, labels, 2, metric)
        gain = gains_over(
            answers.contributions(), 0, confidence=0.95, resamples=2000, seed=0, resampled=answers.resampled
        )[1]
        verdicts[metric] = verdict(gain)
    assert verdicts == {"accuracy": "no evidence", "balanced_accuracy": "positive", "macro_f1": "positive"}


def test_a_p_value_in_balanced_accuracy_is_that_of_the_recalls_class_by_class() -> None:
    said, labels = guesses(0.6, 0.75, seeds=1, n=400)
    answers = ScoredPredictions(said.repeat(1, 2, 1), labels, 3, "balanced_accuracy")
    found = pairwise_p_values(answers.contributions())[0, 1].item()
    difference = ((said[1, 0] == labels).double() - (said[0, 0] == labels).double()).numpy()
    of_classes = [difference[labels.numpy() == k] for k in range(3)]
    mean = np.mean([values.mean() for values in of_classes])
    variance = sum(values.var() / len(values) for values in of_classes) / 9
    expected = 2 * scipy.stats.t.sf(abs(mean) / math.sqrt(variance), 399)
    assert found == pytest.approx(expected, rel=1e-6)
    assert p_values_over(answers.contributions(), 0)[1] == pytest.approx(found)


@pytest.mark.parametrize("metric", OTHERS)
def test_a_nominal_95_percent_comes_near_it_with_a_rare_class(metric: str) -> None:
    """Strategies of equal quality: the interval of their gain contains zero about as often as stated."""
    held = 0
    for trial in range(150):
        said, labels = guesses(0.7, 0.7, shares=(0.8, 0.15, 0.05), n=200, seed=trial)
        answers = ScoredPredictions(said, labels, 3, metric)
        gain = gains_over(
            answers.contributions(), 0, confidence=0.95, resamples=1000, seed=trial, resampled=answers.resampled
        )[1]
        held += gain.low <= 0 <= gain.high
    assert 0.9 <= held / 150 <= 1.0


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((60, 60), "accuracy"),
        ((50, 100), "accuracy"),
        ((50, 101), "balanced_accuracy"),
        ((87, 13), "balanced_accuracy"),
        ((5, 0, 5), "balanced_accuracy"),
    ],
)
def test_it_chooses_itself_by_how_frequent_the_classes_are(counts: tuple[int, ...], expected: str) -> None:
    assert lead_metric(None, counts) == expected
    assert lead_metric("macro_f1", counts) == "macro_f1"
