"""Similarity scores compared with NumPy, SciPy and scikit-learn, and the sampling weights made from them."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from graft.techniques.density import classifier_odds, density_ratio, draw_weights, nearest_neighbours, ulsif


@pytest.fixture
def features() -> tuple[Tensor, Tensor, Tensor]:
    """Features of the source (80, 4), the target (30, 4), and others (17, 4); one feature is constant."""
    generator = torch.Generator().manual_seed(0)
    source, target, others = (torch.randn(n, 4, generator=generator) * 3 + 1 for n in (80, 30, 17))
    target[:, 0] += 2
    for part in (source, target, others):
        part[:, 3] = 0.5
    return source, target, others


def test_ulsif_is_the_closed_form(features: tuple[Tensor, Tensor, Tensor]) -> None:
    source, target, others = features
    s, t, o = (part.double().numpy() for part in features)
    centres, width, ridge = t[:7], 2.5, 0.1

    def kernels(x: np.ndarray) -> np.ndarray:
        return np.exp(-cdist(x, centres, "sqeuclidean") / (2 * width**2))

    moment = np.mean([np.outer(row, row) for row in kernels(s)], axis=0)
    amplitudes = np.maximum(0, np.linalg.inv(moment + ridge * np.eye(7)) @ kernels(t).mean(axis=0))
    found = ulsif(source, target, target[:7], width, ridge)(others)
    np.testing.assert_allclose(found.numpy(), kernels(o) @ amplitudes, rtol=1e-6)


def test_the_density_ratio_of_two_normal_distributions_is_found() -> None:
    generator = np.random.default_rng(0)
    source = generator.normal(size=(1500, 2))
    target = generator.normal(loc=(1.0, 0.0), scale=0.7, size=(800, 2))
    others = generator.normal(size=(300, 2))
    found = density_ratio(torch.tensor(source), torch.tensor(target))(torch.tensor(others))
    true = multivariate_normal((1.0, 0.0), 0.49).pdf(others) / multivariate_normal((0.0, 0.0), 1.0).pdf(others)
    assert spearmanr(found, true).statistic > 0.95
    assert found.mean().item() == pytest.approx(1.0, abs=0.15)  # the mean of a ratio over the source is 1


def test_neighbours_are_scikit_learns(features: tuple[Tensor, Tensor, Tensor]) -> None:
    _, target, others = features
    near = NearestNeighbors(n_neighbors=3, metric="cosine").fit(target.double().numpy())
    distances = near.kneighbors(others.double().numpy())[0].mean(axis=1)
    own = NearestNeighbors(n_neighbors=4, metric="cosine").fit(target.double().numpy())  # the first is the image itself
    typical = np.sort(own.kneighbors(target.double().numpy())[0].mean(axis=1) * 4 / 3)[(len(target) - 1) // 2]
    found = nearest_neighbours(target, neighbours=3)(others)
    np.testing.assert_allclose(found.numpy(), np.exp(-distances / typical), rtol=1e-6)


def test_fewer_target_pictures_than_neighbours_are_all_neighbours(features: tuple[Tensor, Tensor, Tensor]) -> None:
    _, target, others = features
    torch.testing.assert_close(
        nearest_neighbours(target[:2], neighbours=5)(others), nearest_neighbours(target[:2], neighbours=2)(others)
    )


def test_the_odds_are_scikit_learns(features: tuple[Tensor, Tensor, Tensor]) -> None:
    source, target, others = features
    s, t, o = (part.double().numpy() for part in features)
    mean, spread = s.mean(axis=0), np.array([*s.std(axis=0)[:3], 1.0])
    model = LogisticRegression(C=1 / (110 * 0.01), class_weight="balanced", tol=1e-10, max_iter=10_000)
    model.fit((np.concatenate([s, t]) - mean) / spread, [0] * 80 + [1] * 30)
    found = classifier_odds(source, target, ridge=0.01)(others)
    np.testing.assert_allclose(found.log().numpy(), model.decision_function((o - mean) / spread), atol=1e-4)


def test_a_draw_keeps_the_best_share_and_sharpens_within_it() -> None:
    scores, one = torch.tensor([1.0, 4.0, 2.0, 0.5], dtype=torch.double), torch.zeros(4)

    def relative(share: float, sharpness: float) -> list[float]:
        weights = draw_weights(scores, one, share, sharpness)
        return (weights / weights.max()).tolist()

    assert relative(share=0.5, sharpness=0.0) == [0, 1, 1, 0]
    assert relative(share=0.5, sharpness=1.0) == [0, 1, 0.5, 0]
    assert relative(share=1.0, sharpness=0.5) == pytest.approx([0.5, 1, 0.5**0.5, 0.125**0.5])
    assert relative(share=0.01, sharpness=1.0) == [0, 1, 0, 0]  # one at least


@pytest.mark.parametrize("sharpness", [0.0, 1.0])
def test_every_group_is_drawn_as_often_as_it_is_large(sharpness: float) -> None:
    scores = torch.tensor([9.0, 8.0, 7.0, 6.0, 2.0, 1.0], dtype=torch.double)
    groups = torch.tensor([5, 5, 5, 5, 3, 3])
    weights = draw_weights(scores, groups, 0.5, sharpness)
    assert weights.nonzero().flatten().tolist() == [0, 1, 4]
    assert weights[groups == 5].sum() == pytest.approx(2 * weights[groups == 3].sum().item())


def test_a_draw_is_possible_where_no_picture_resembles_the_target() -> None:
    weights = draw_weights(torch.zeros(6, dtype=torch.double), torch.zeros(6), share=0.5, sharpness=1.0)
    assert (weights > 0).sum() == 3
