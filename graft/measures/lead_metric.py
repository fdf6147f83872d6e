"""The metric by which strategies are ranked, and the contribution of each test image to it.

Legend: M strategies, S seeds, N test images, K classes, R resamples.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.settings import MOST_UNEQUAL, Metric


def lead_metric(asked: Metric | None, counts: Sequence[int]) -> Metric:
    """The metric that was asked for; by default accuracy for balanced classes, else balanced accuracy.

    If one class has most of the images, a network that always predicts it is accurate but useless.

    Args:
        asked: None applies the default.
        counts: test images per class.
    """
    if asked is not None:
        return asked
    return "accuracy" if max(counts) <= MOST_UNEQUAL * min(counts) else "balanced_accuracy"


class ScoredPredictions:
    """What every strategy with every seed says of the test images, and how good that is.

    Args:
        predictions: (M, S, N) int64.
        labels: (N,) int64.
        classes: number of classes.
        metric: the metric that ranks the strategies.
    """

    def __init__(self, predictions: Tensor, labels: Tensor, classes: int, metric: Metric) -> None:
        self._predictions, self._labels, self._classes, self._metric = predictions, labels, classes, metric

    def contributions(self) -> Tensor:
        """The contribution of each image to the metric: (M, S, N), whose mean over the images is the metric.

        For accuracy: whether the prediction is right. The other metrics are not means over images; an image contributes
        the first-order change of the metric when its weight increases (the infinitesimal jackknife; Efron & Tibshirani
        1993, 'An Introduction to the Bootstrap', ch. 21). An image of a rare class contributes much.
        """
        right = self._predictions == self._labels
        if self._metric == "accuracy":
            return right.double()
        find = self._of_balanced_accuracy if self._metric == "balanced_accuracy" else self._of_macro_f1
        return torch.stack([torch.stack([find(said) for said in of_strategy]) for of_strategy in self._predictions])

    def _of_balanced_accuracy(self, said: Tensor) -> Tensor:
        """Contributions (N,) for one network's predictions (N,)."""
        right, support = (said == self._labels).double(), self._labels.bincount(minlength=self._classes)
        recall = self._sums(right) / support.clamp(min=1)
        mean = recall[support > 0].mean()
        influence = (right - recall[self._labels]) * len(said) / support[self._labels] / (support > 0).sum()
        return mean + influence

    def _of_macro_f1(self, said: Tensor) -> Tensor:
        """Contributions (N,) for one network's predictions (N,)."""
        right = (said == self._labels).double()
        named = self._labels.bincount(minlength=self._classes) + said.bincount(minlength=self._classes)
        f1 = 2 * self._sums(right) / named.clamp(min=1)
        per_picture = len(said) / named.clamp(min=1) / (named > 0).sum()
        # F1 is 2 TP / (true + predicted): an image adds to the denominator of its true and of its predicted class.
        influence = (2 * right - f1[self._labels]) * per_picture[self._labels] - f1[said] * per_picture[said]
        return f1[named > 0].mean() + influence

    def _sums(self, values: Tensor) -> Tensor:
        """Sums of values (N,) per true class: (K,)."""
        return torch.zeros(self._classes, dtype=torch.double).index_add(0, self._labels, values)

    @property
    def resampled(self) -> Callable[[Tensor], Tensor] | None:
        """The argument `resampled` of `graft.measures.comparison.gains_over`; None for accuracy, a mean over images.

        Maps how often each image is drawn, (R, N), to the metric per strategy, averaged over seeds: (R, M).
        """
        if self._metric == "accuracy":
            return None
        return self._balanced_accuracy if self._metric == "balanced_accuracy" else self._macro_f1

    def _balanced_accuracy(self, times: Tensor) -> Tensor:
        right = (self._predictions == self._labels).double().mean(dim=1)
        support = times @ F.one_hot(self._labels, self._classes).double()
        # A class that is absent from a resample does not count in it.
        present = (support > 0).sum(dim=1, keepdim=True)
        return (times / support.clamp(min=1)[:, self._labels]) @ right.T / present

    def _macro_f1(self, times: Tensor) -> Tensor:
        # Counts are exact in single precision, which is twice as fast.
        return torch.stack([self._macro_f1_of(times.float(), said) for said in self._predictions], dim=1)

    def _macro_f1_of(self, times: Tensor, said: Tensor) -> Tensor:
        """(R,) for one strategy's predictions (S, N); a class that is neither true nor predicted does not count."""
        true, named = (F.one_hot(of, self._classes).float() for of in (self._labels, said))  # (N, K), (S, N, K)
        columns = torch.cat([true[None], named, true * (said == self._labels)[..., None]])
        sums = times @ columns.transpose(0, 1).flatten(1)  # one matrix product: many narrow ones are slow
        support, said_so, found = sums.view(len(times), -1, self._classes).split([1, len(said), len(said)], dim=1)
        either = support + said_so  # (R, S, K)
        f1 = 2 * found / either.clamp(min=1)
        by_seed: Tensor = f1.sum(dim=2) / (either > 0).sum(dim=2)
        return by_seed.double().mean(dim=1)
