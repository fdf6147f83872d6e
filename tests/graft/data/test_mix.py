import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest

from graft.contract import Batch
from graft.data.mix import mix
from graft.settings import Augmentation

IMAGES = torch.arange(12.0).view(12, 1, 1, 1).expand(12, 2, 8, 8)
"""Each image is one value: what is mixed into it shows."""


def test_mixup_averages_images_in_shares_of_a_beta_distribution() -> None:
    generator, shares = torch.Generator().manual_seed(0), []
    for _ in range(300):
        found = mix(IMAGES, Augmentation(mixup=0.4), generator)
        assert found is not None
        mixed, order, share = found
        torch.testing.assert_close(mixed, (1 - share) * IMAGES + share * IMAGES[order])
        shares.append(share)
    drawn = np.random.default_rng(0).beta(0.4, 0.4, 100_000)
    assert kstest(shares, np.minimum(drawn, 1 - drawn)).pvalue > 0.01


def test_cutmix_replaces_a_rectangle_as_large_as_the_share() -> None:
    generator, places = torch.Generator().manual_seed(0), set()
    for _ in range(50):
        found = mix(IMAGES, Augmentation(cutmix=1.0), generator)
        assert found is not None
        mixed, order, share = found
        assert share <= 0.5
        for i in range(12):
            new = mixed[i, 0] != i
            assert set(mixed[i].unique().tolist()) <= {float(i), float(order[i])}
            if order[i] != i:
                assert new.float().mean() == pytest.approx(share)
                rows, columns = new.any(dim=1), new.any(dim=0)
                assert new.sum() == rows.sum() * columns.sum(), "a rectangle"
                places.add(tuple(rows.tolist()))
    assert len(places) > 10


def test_with_both_each_batch_takes_one() -> None:
    generator, kinds = torch.Generator().manual_seed(0), set()
    for _ in range(20):
        found = mix(IMAGES, Augmentation(mixup=1.0, cutmix=1.0), generator)
        assert found is not None
        kinds.add(bool((found[0] == found[0].round()).all()))
    assert kinds == {True, False}


def test_nothing_is_mixed_unless_asked_and_texts_never() -> None:
    generator = torch.Generator()
    assert mix(IMAGES, Augmentation(), generator) is None
    assert mix(torch.ones(4, 9, dtype=torch.long), Augmentation(mixup=1.0), generator) is None


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.5, 1.0, 1.0])])
def test_a_mixed_batch_learns_both_labels_in_their_shares(weights: torch.Tensor | None) -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels, others = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 0, 1, 1])
    order = torch.tensor([2, 0, 1, 1])
    mixed = Batch(torch.zeros(4, 1), others, weights=None if weights is None else weights[order])
    batch = Batch(torch.zeros(4, 1), labels, weights=weights, mixed_with=mixed, mixed_share=0.3)
    soft = 0.7 * F.one_hot(labels, 3) + 0.3 * F.one_hot(others, 3)
    if weights is None:
        torch.testing.assert_close(batch.cross_entropy(logits), F.cross_entropy(logits, soft))
    parts = zip(batch.in_parts(2), logits.split(2), strict=True)
    whole = torch.stack([part.cross_entropy(found) for part, found in parts]).mean()
    torch.testing.assert_close(batch.cross_entropy(logits), whole)
