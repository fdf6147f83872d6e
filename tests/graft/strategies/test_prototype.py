import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from graft.strategies.prototype import nearest_mean
from tests.graft.features import clouds


@pytest.mark.parametrize("counts", [[1, 1, 1], [2, 7, 4]])
def test_the_nearest_mean_is_scikit_learns(counts: list[int]) -> None:
    few, test = clouds(counts, seed=0), clouds([100] * 3, seed=5)
    head = nearest_mean(few.images + 100, few.labels, 3)
    expected = NearestCentroid().fit(few.images.numpy(), few.labels.numpy()).predict(test.images.numpy())
    found = head(test.images + 100).argmax(dim=1).numpy()
    assert (found == expected).mean() > 0.99  # single precision, far from zero


def test_probabilities_are_as_sharp_as_leaving_one_out_says() -> None:
    few = clouds([5] * 3, seed=0)
    head, labels = nearest_mean(few.images, few.labels, 3), few.labels
    x = few.images.double().numpy()

    def loss(scale: float) -> float:
        total = 0.0
        for i in range(15):
            rest = np.delete(np.arange(15), i)
            means = np.stack([x[rest][labels[rest].numpy() == k].mean(axis=0) for k in range(3)])
            logits = -scale / 2 * np.square(x[i] - means).sum(axis=1)
            total += np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[labels[i]]
        return total

    means = np.stack([x[labels.numpy() == k].mean(axis=0) for k in range(3)])
    scale = float((head.weight[0] - head.weight[1]).detach().norm() / np.linalg.norm(means[0] - means[1]))
    step = 10 ** (1 / 4)
    assert loss(scale) <= min(loss(scale * step), loss(scale / step)) + 1e-6


def test_one_image_per_class_is_enough() -> None:
    assert nearest_mean(clouds([1] * 3, seed=0).images, torch.arange(3), 3).weight.isfinite().all()
