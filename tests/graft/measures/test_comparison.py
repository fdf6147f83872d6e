"""Intervals compared with SciPy, their coverage in simulation, and verdicts that claim no more than the intervals."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from graft.measures.comparison import gains_over, p_values_over, pairwise_p_values, rank_ranges, seed_interval
from graft.measures.findings import Interval, verdict


def gains(correct, baseline=0, **changes) -> list[Interval]:
    return gains_over(correct, baseline, **{"confidence": 0.95, "resamples": 10_000, "seed": 0, **changes})


def coin_flips(*rates: float, seeds: int, pictures: int, seed: int = 0) -> torch.Tensor:
    """(M, S, N): one strategy per success rate."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(rates), seeds, pictures, generator=generator) < torch.tensor(rates)[:, None, None]


def test_mean_over_seeds_has_students_interval() -> None:
    values = [0.94, 0.95, 0.92, 0.97]
    found = seed_interval(values, 0.9)
    expected = scipy.stats.t.interval(0.9, 3, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), *expected))


def test_one_seed_has_no_interval_and_proves_nothing() -> None:
    assert seed_interval([0.9], 0.95) == Interval(0.9, None, None)
    _, gain = gains(torch.tensor([[[False] * 50], [[True] * 50]]))
    assert gain == Interval(1.0, None, None)
    assert verdict(gain) == "no evidence"


def test_where_only_pictures_vary_it_is_the_ordinary_paired_bootstrap() -> None:
    once = coin_flips(0.7, 0.8, seeds=1, pictures=300)
    found = gains(once.repeat(1, 2, 1))[1]
    difference = once[1, 0].double().numpy() - once[0, 0].double().numpy()
    expected = scipy.stats.bootstrap(
        (difference,), np.mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert found.mean == pytest.approx(difference.mean())
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx(expected, abs=0.04 * width)


def test_where_only_seeds_vary_it_is_wider_than_the_plain_bootstrap_by_the_known_factor() -> None:
    seeds = 12
    wins = torch.arange(seeds) % 3 == 0
    correct = torch.stack([torch.zeros(seeds, 40), wins[:, None].expand(seeds, 40).float()])
    found = gains(correct)[1]
    plain = scipy.stats.bootstrap(
        (wins.double().numpy(),), np.mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    factor = math.sqrt(seeds / (seeds - 1)) * scipy.stats.t.ppf(0.975, seeds - 1) / scipy.stats.norm.ppf(0.975)
    assert factor == pytest.approx(1.173, abs=0.001)
    assert found.high - found.low == pytest.approx(factor * (plain.high - plain.low), rel=0.03)


def test_the_same_predictions_gain_exactly_nothing() -> None:
    correct = coin_flips(0.8, seeds=3, pictures=200).repeat(2, 1, 1)
    assert gains(correct)[1] == Interval(0.0, 0.0, 0.0)


def test_pairing_makes_a_consistent_small_gain_certain() -> None:
    correct = coin_flips(0.6, seeds=3, pictures=600).repeat(2, 1, 1)
    correct[1, :, :12] = True
    correct[0, :, :12] = False
    # Without pairing, a gain of two points between accuracies of 60 % on 600 images would be lost in noise.
    assert verdict(gains(correct)[1]) == "positive"


def test_swapping_the_sides_mirrors_the_interval() -> None:
    correct = coin_flips(0.7, 0.75, seeds=4, pictures=150)
    there, back = gains(correct, 0)[1], gains(correct, 1)[0]
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))


def test_a_gain_does_not_depend_on_who_else_is_compared() -> None:
    correct = coin_flips(0.7, 0.8, 0.4, seeds=3, pictures=100)
    assert gains(correct)[1] == gains(correct[:2])[1]


def test_the_seed_alone_decides_the_resamples() -> None:
    correct = coin_flips(0.7, 0.75, seeds=3, pictures=150)
    torch.manual_seed(5)
    first = gains(correct)
    torch.manual_seed(6)
    assert gains(correct) == first
    assert gains(correct, seed=1) != first


@pytest.mark.parametrize(("seeds", "least", "most"), [(3, 0.90, 0.98), (6, 0.93, 0.98)])
def test_a_nominal_95_percent_comes_near_it(seeds: int, least: float, most: float) -> None:
    """Strategies that differ by label draw, by image and by both; the true gain is the mean over all of these."""
    trials = 300
    noise = np.random.default_rng(seeds)
    hits = 0
    for trial in range(trials):
        hard = noise.normal(0, 0.9, 200)
        margin = np.stack(
            [
                mean
                + hard
                + noise.normal(0, 0.4, 200)
                + noise.normal(0, 0.2, (seeds, 1))
                + noise.normal(0, 0.4, (seeds, 200))
                for mean in (1.2, 1.6)
            ]
        )
        gain = gains(torch.from_numpy(margin > 0), resamples=1000, seed=trial)[1]
        spread = math.sqrt(0.9**2 + 0.4**2 + 0.2**2 + 0.4**2)
        truth = scipy.stats.norm.cdf(1.6 / spread) - scipy.stats.norm.cdf(1.2 / spread)
        hits += gain.low <= truth <= gain.high
    assert least <= hits / trials <= most


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.001, 0.1, "positive"),
        (0.0, 0.1, "no evidence"),
        (-0.1, 0.1, "no evidence"),
        (-0.1, 0.0, "no evidence"),
        (-0.1, -0.001, "negative"),
        (None, None, "no evidence"),
    ],
)
def test_a_verdict_is_what_its_interval_says(low, high, expected) -> None:
    assert verdict(Interval(0.0, low, high)) == expected


def test_rounding_comes_before_the_verdict() -> None:
    shown = Interval(0.01, 0.00004, 0.02).rounded(4)
    assert shown == Interval(0.01, 0.0, 0.02)
    assert verdict(shown) == "no evidence"
    assert str(Interval(0.0, -0.00001, 0.0).rounded(4).low) == "0.0"


def by_anova(correct: np.ndarray, one: int, other: int) -> float:
    """The uncorrected p-value of a pair: the variance over seeds is the larger of its own and the pooled one."""
    m, s, n = correct.shape
    cells = correct.mean(axis=2)
    residuals = cells - cells.mean(axis=0) - cells.mean(axis=1, keepdims=True) + cells.mean()
    each = (residuals**2).sum(axis=1) / ((s - 1) * (m - 1) / m)
    common, freedom = 2 * each.mean(), each.sum() ** 2 / (each**2).sum() * (s - 1) * (m - 1) / m
    own = np.var(cells[one] - cells[other], ddof=1)
    seeds, freedom = (common / s, freedom) if common > own else (own / s, s - 1)
    pictures = np.var((correct[one] - correct[other]).mean(axis=0)) / n
    freedom = (seeds + pictures) ** 2 / (seeds**2 / freedom + pictures**2 / (n - 1))
    t = (cells[one] - cells[other]).mean() / math.sqrt(seeds + pictures)
    return float(2 * scipy.stats.t.sf(abs(t), freedom))


class TestPairwise:
    """Which strategies differ significantly, corrected for the number of pairs."""

    def test_a_single_pair_is_a_paired_t_test_over_seeds(self) -> None:
        by_seed = torch.tensor([0.03, 0.05, 0.02, 0.06], dtype=torch.double)
        worse = torch.full((4, 50), 0.5, dtype=torch.double)
        better = worse + by_seed[:, None]
        expected = scipy.stats.ttest_1samp(by_seed.numpy(), 0).pvalue
        found = pairwise_p_values(torch.stack([worse, better]))
        assert found[0, 1].item() == pytest.approx(expected)
        assert found[1, 0] == found[0, 1]
        assert found[0, 0] == 1

    def test_and_over_pictures_where_seeds_agree(self) -> None:
        generator = torch.Generator().manual_seed(0)
        by_picture = torch.randn(400, generator=generator, dtype=torch.double) + 0.15
        same = torch.zeros(3, 400, dtype=torch.double)
        found = pairwise_p_values(torch.stack([same, same + by_picture]))[0, 1].item()
        assert found == pytest.approx(scipy.stats.ttest_1samp(by_picture.numpy(), 0).pvalue, rel=0.05)

    def test_several_pairs_are_corrected_as_holm_says(self) -> None:
        generator = torch.Generator().manual_seed(1)
        correct = (
            torch.rand(4, 5, 200, generator=generator) < torch.tensor([0.6, 0.65, 0.7, 0.8])[:, None, None]
        ).double()
        adjusted = pairwise_p_values(correct)
        pairs = [(i, j) for i in range(4) for j in range(i)]
        raw = {(i, j): by_anova(correct.numpy(), i, j) for i, j in pairs}
        largest = 0.0
        for place, pair in enumerate(sorted(pairs, key=lambda pair: raw[pair])):
            largest = max(largest, min(1.0, (len(pairs) - place) * raw[pair]))
            assert adjusted[pair].item() == pytest.approx(largest)

    def test_differences_from_the_baseline_are_corrected_for_the_other_strategies_alone(self) -> None:
        correct = coin_flips(0.6, 0.65, 0.7, 0.8, seeds=5, pictures=200).double()
        raw = [by_anova(correct.numpy(), 1, i) for i in (0, 2, 3)]
        order, largest, by_hand = sorted(range(3), key=lambda i: raw[i]), 0.0, [0.0] * 3
        for place, i in enumerate(order):
            largest = max(largest, min(1.0, (3 - place) * raw[i]))
            by_hand[i] = largest
        found = p_values_over(correct, 1)
        assert found[1] == 1.0
        assert [found[i] for i in (0, 2, 3)] == pytest.approx(by_hand)
        assert p_values_over(correct[:, :1], 1) == [1.0] * 4

    @pytest.mark.parametrize("scatter", [0.0, 0.03, 0.1], ids=["alike", "seeds differ", "seeds differ much"])
    def test_strategies_that_are_alike_are_seldom_told_apart(self, scatter: float) -> None:
        """However much their seeds scatter, each by itself; among 45 pairs, some agree over three seeds by chance."""
        generator = torch.Generator().manual_seed(2)
        wrong = 0
        for _ in range(60):
            hardness = torch.rand(1, 1, 150, generator=generator)
            level = 0.6 + 0.3 * hardness + scatter * torch.randn(10, 3, 1, generator=generator)
            correct = (torch.rand(10, 3, 150, generator=generator) < level).double()
            wrong += bool((pairwise_p_values(correct) < 0.05).any())
        assert wrong <= 6

    def test_one_seed_tells_nothing_apart(self) -> None:
        correct = torch.stack([torch.zeros(1, 20), torch.ones(1, 20)])
        assert bool((pairwise_p_values(correct) == 1).all())

    def test_ranks_are_what_the_real_differences_leave_open(self) -> None:
        p = torch.tensor([[1.0, 0.3, 0.01], [0.3, 1.0, 0.04], [0.01, 0.04, 1.0]])
        assert rank_ranges([0.9, 0.8, 0.5], p, 0.95) == [(1, 2), (1, 2), (3, 3)]
        assert rank_ranges([0.9, 0.8, 0.5], p, 0.98) == [(1, 2), (1, 3), (2, 3)]
