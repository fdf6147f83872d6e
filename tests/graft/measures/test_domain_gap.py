"""Each distance compared with NumPy, SciPy or scikit-learn; equal domains show no gap, and a gap is detected."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist, pdist
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from graft.measures.domain_gap import domain_error, domain_gap, frechet_distance, mmd, proxy_a_distance


def domains(n: int = 60, m: int = 60, d: int = 5) -> tuple[Tensor, Tensor]:
    """Features (N, D) and (M, D) that differ in spread, and in the mean of the first."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(n, d, generator=generator).double()
    target = torch.randn(m, d, generator=generator).double() * 1.3
    target[:, 0] += 0.8
    return source, target


@pytest.mark.parametrize("d", [5, 80])
def test_the_domain_error_is_that_of_logistic_regression_on_held_out_pictures(d: int) -> None:
    source, target = (split.numpy() for split in domains(d=d))
    wrong = 0
    for fold in range(5):
        held = np.arange(60) % 5 == fold
        scaler = StandardScaler().fit(np.concatenate([source[~held], target[~held]]))
        side = np.repeat([1, 0], 48)
        fitted = LogisticRegression(C=1.0, tol=1e-8, max_iter=2000).fit(
            scaler.transform(np.concatenate([source[~held], target[~held]])), side
        )
        wrong += (fitted.predict(scaler.transform(source[held])) != 1).sum()
        wrong += (fitted.predict(scaler.transform(target[held])) != 0).sum()
    assert 0 < wrong / 120 < 0.5
    assert domain_error(*domains(d=d)) == wrong / 120


def test_held_out_pictures_keep_many_features_from_feigning_a_gap() -> None:
    same = torch.randn(80, 200, generator=torch.Generator().manual_seed(0)).double()
    assert domain_error(same[:40], same[40:]) == pytest.approx(0.5, abs=0.15)  # on its training images it would be 0


def test_proxy_a_distance_goes_from_0_to_2() -> None:
    assert [proxy_a_distance(error) for error in (0.0, 0.25, 0.5, 0.6)] == [2.0, 1.0, 0.0, 0.0]


def test_mmd_and_its_permutation_test() -> None:
    source, target = domains(20, 15)
    a, b = source.numpy(), target.numpy()
    width = np.median(pdist(np.concatenate([a, b])))

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(-(cdist(x, y) ** 2) / (2 * width**2))

    def unbiased(x: np.ndarray, y: np.ndarray) -> float:
        n, m = len(x), len(y)
        within = (kernel(x, x).sum() - n) / (n * (n - 1)) + (kernel(y, y).sum() - m) / (m * (m - 1))
        return float(within - 2 * kernel(x, y).mean())

    found, p_value = mmd(source, target, 99, torch.Generator().manual_seed(3))
    assert found == pytest.approx(unbiased(a, b), rel=1e-9)
    generator, pooled = torch.Generator().manual_seed(3), np.concatenate([a, b])
    orders = [torch.randperm(35, generator=generator).numpy() for _ in range(99)]
    larger = sum(unbiased(pooled[order[:20]], pooled[order[20:]]) >= found for order in orders)
    assert p_value == pytest.approx((larger + 1) / 100)


def test_mmd_is_zero_on_average_where_there_is_no_gap() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randn(2, 30, 5, generator=generator).double() for _ in range(20)]
    found = [mmd(a, b, 99, generator) for a, b in pairs]
    assert np.mean([value for value, _ in found]) == pytest.approx(0.0, abs=0.004)
    assert min(value for value, _ in found) < 0  # unbiased, so it must sometimes be negative
    assert np.mean([p_value for _, p_value in found]) == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize(("n", "m", "d"), [(60, 40, 5), (12, 9, 20)])
def test_frechet_distance(n: int, m: int, d: int) -> None:
    source, target = domains(n, m, d)
    a, b = np.cov(source.numpy(), rowvar=False), np.cov(target.numpy(), rowvar=False)
    difference = source.mean(dim=0) - target.mean(dim=0)
    expected = float(difference @ difference) + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet_distance(source, target) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_by_hand() -> None:
    # Means 0 and 3, standard deviations 1 and 2: 3^2 + (1 - 2)^2.
    one = torch.tensor([[-1.0], [1.0]]).double() / 2**0.5
    assert frechet_distance(one, 2 * one + 3) == pytest.approx(10.0)
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-12)


def test_no_gap_is_called_none_and_a_gap_is_seen() -> None:
    same = torch.randn(300, 8, generator=torch.Generator().manual_seed(1))
    none, seen = domain_gap(same[:100], same[100:]), domain_gap(same[:100], same[100:] + 2)
    assert none.images == seen.images == 100
    assert none.proxy_a_distance < 0.4
    assert none.mmd_p_value > 0.05
    assert none.frechet == pytest.approx(none.frechet_within, rel=0.3)  # few images: far from 0 without any gap
    assert none.frechet_within > 0.3
    assert seen.proxy_a_distance > 1.8
    assert seen.mmd_p_value == pytest.approx(1 / 201)
    assert seen.frechet > 20 * seen.frechet_within


def test_the_same_seed_gives_the_same_gap() -> None:
    source, target = domains(50, 30)
    assert domain_gap(source, target, seed=1) == domain_gap(source, target, seed=1)
    assert domain_gap(source, target, seed=1) != domain_gap(source, target, seed=2)


def test_features_that_never_vary_do_no_harm() -> None:
    source, target = (torch.cat([split, torch.ones(len(split), 3)], dim=1) for split in domains())
    plain, padded = domain_gap(*domains()), domain_gap(source, target)
    assert padded.domain_error == plain.domain_error
    assert padded.frechet == pytest.approx(plain.frechet)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 10 images per domain, got 9"):
        domain_gap(torch.rand(9, 2), torch.rand(50, 2))
    with pytest.raises(ValueError, match=r"\(20, 3\) and \(20, 2\)"):
        domain_gap(torch.rand(20, 3), torch.rand(20, 2))
