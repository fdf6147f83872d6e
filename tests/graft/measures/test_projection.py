"""The map of features: clusters stay together, the result is deterministic, degenerate features do no harm."""

import pytest
import torch

from graft.measures.projection import draw, project


def two_groups() -> torch.Tensor:
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    features[20:] += 12
    return features


def test_what_is_near_stays_near() -> None:
    places = project(two_groups(), seed=0)
    assert places.shape == (40, 2)
    own = torch.cdist(places[:20], places[:20]).max()
    other = torch.cdist(places[:20], places[20:]).min()
    assert own < other


def test_the_same_seed_gives_the_same_map() -> None:
    assert torch.equal(project(two_groups(), seed=3), project(two_groups(), seed=3))


@pytest.mark.parametrize("features", [torch.ones(12, 5), torch.arange(12.0)[:, None], two_groups()[:4]])
def test_odd_features_give_finite_places(features: torch.Tensor) -> None:
    assert project(features, seed=0).isfinite().all()


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 images, got 3"):
        project(torch.randn(3, 2), seed=0)


def test_drawn_pictures_are_in_order_and_never_twice() -> None:
    chosen = draw(torch.zeros(100), 30, seed=0)
    assert len(chosen) == len(chosen.unique()) == 30
    assert torch.equal(chosen, chosen.sort().values)
    assert torch.equal(draw(torch.zeros(5), 30, seed=0), torch.arange(5))
