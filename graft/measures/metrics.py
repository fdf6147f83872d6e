"""Scores of predicted probabilities.

Legend: N images, K classes, B bins.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

CALIBRATION_BINS = 15
"""The number that Guo et al. 2017 ('On Calibration of Modern Neural Networks') and most papers since use."""

_LEAST_PROBABILITY = 1e-12
"""Lower bound in the log-likelihood: a true class with probability 0 costs 27.6 nats instead of infinity."""


@dataclass(frozen=True)
class Scores:
    """Scores of predicted probabilities. A class is absent if no image has its label."""

    accuracy: float
    balanced_accuracy: float
    """Mean recall over the classes that are present: a rare class counts as much as a frequent one."""
    macro_f1: float
    """Mean F1 over the classes that are present or predicted: predicting an absent class counts as F1 = 0."""
    nll: float
    """Mean negative log-likelihood of the true class, in nats."""
    calibration_error: float
    """Expected calibration error: mean distance between confidence and accuracy over the bins of `reliability`."""
    per_class_recall: tuple[float | None, ...]
    """Recall per class; None for an absent class."""
    confusion: tuple[tuple[int, ...], ...]
    """Image counts: rows are true classes, columns are predictions."""


@dataclass(frozen=True)
class Reliability:
    """The data of a reliability diagram, in bins of equal width in the confidence (the largest probability).

    Attributes:
        counts: (B,) images per bin.
        confidence: (B,) their mean confidence, 0 in an empty bin.
        accuracy: (B,) their accuracy, 0 in an empty bin.
    """

    counts: Tensor
    confidence: Tensor
    accuracy: Tensor

    def error(self) -> float:
        """The expected calibration error."""
        return float((self.counts * (self.confidence - self.accuracy).abs()).sum() / self.counts.sum())


def score(probabilities: Tensor, labels: Tensor) -> Scores:
    """Score probabilities (N, K) against labels (N,); ties go to the first class.

    Raises:
        ValueError: the shapes do not match, there are no images, or the values are not probabilities.
    """
    _check(probabilities, labels)
    classes = probabilities.shape[1]
    predictions = probabilities.argmax(dim=1)
    confusion = torch.bincount(labels * classes + predictions, minlength=classes**2).view(classes, classes)
    support, found = confusion.sum(dim=1), confusion.diag()
    involved = support + confusion.sum(dim=0)
    recall, f1 = found.double() / support.clamp(min=1), 2 * found.double() / involved.clamp(min=1)
    true_class = probabilities.double().gather(1, labels[:, None])
    return Scores(
        accuracy=(predictions == labels).double().mean().item(),
        balanced_accuracy=recall[support > 0].mean().item(),
        macro_f1=f1[involved > 0].mean().item(),
        nll=-true_class.clamp(min=_LEAST_PROBABILITY).log().mean().item(),
        calibration_error=reliability(probabilities, labels).error(),
        per_class_recall=tuple(
            share if n else None for share, n in zip(recall.tolist(), support.tolist(), strict=True)
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def reliability(probabilities: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> Reliability:
    """Sort images into bins [0, 1/B), …, [1 - 1/B, 1] by confidence; probabilities (N, K), labels (N,)."""
    confidence, predictions = probabilities.double().max(dim=1)
    index = (confidence * bins).long().clamp(max=bins - 1)
    counts = torch.bincount(index, minlength=bins).double()
    total_confidence = torch.bincount(index, weights=confidence, minlength=bins)
    total_right = torch.bincount(index, weights=(predictions == labels).double(), minlength=bins)
    return Reliability(counts, total_confidence / counts.clamp(min=1), total_right / counts.clamp(min=1))


def _check(probabilities: Tensor, labels: Tensor) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            f"expected probabilities (N, K) and labels (N,) of at least one image, "
            f"got {tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )
    classes = probabilities.shape[1]
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(f"labels must be in 0..{classes - 1}, got {int(labels.min())}..{int(labels.max())}")
    sums = probabilities.double().sum(dim=1)
    # Phrased so that NaN fails too.
    if not bool((probabilities >= 0).all() and ((sums - 1).abs() < 1e-3).all()):
        raise ValueError("every row of probabilities must be non-negative and add up to 1")
