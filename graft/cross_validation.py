"""What is chosen by cross-validation within the paid labels: which network of a training run is kept.

Legend: N paid images, M of them held out by some fold, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.loop import Fit, Kept
from graft.training.selection import Evaluation


@dataclass(frozen=True)
class CrossValidation:
    """The answers for images that were held out, pooled over the folds, and what they choose.

    An estimate of the network that is then trained on all labels, a little low: each fold learns from fewer. The choice
    is made on the same answers, which makes it a little high (Varma & Simon 2006, 'Bias in Error Estimation when Using
    Cross-validation for Model Selection'); what a strategy fits within a fold, such as a probe's strength, is not.
    """

    kept: Kept
    curve: tuple[Evaluation, ...]
    """Mean over the folds."""
    held: Tensor
    """(M,) places among the paid images, ascending."""
    labels: Tensor
    """(M,)."""
    probabilities: Tensor
    """(M, K), of the networks that `kept` names."""

    @property
    def loss(self) -> float:
        """Mean cross-entropy on the images held out."""
        return _loss(self.probabilities, self.labels)


def cross_validation(fits: Sequence[Fit], held: Sequence[Tensor], labels: Tensor, keep: str) -> CrossValidation:
    """Choose the network with the lowest loss on the images held out, pooled over the folds; of equals, the earliest.

    Args:
        fits: one per fold, with the answers for the images that it held out.
        held: (M_i,) their places among the paid images, as `folds` gives them.
        labels: (N,) of all paid images.
        keep: `last` chooses among the networks of the last step alone (`Training.keep`).
    """
    options = list(fits[0].answers)
    if keep == "last":
        last = max(option.step for option in options)
        options = [option for option in options if option.step == last]
    places = torch.cat([each.cpu() for each in held])
    order = places.argsort()
    answers = {option: torch.cat([fit.answers[option] for fit in fits])[order] for option in options}
    known = labels.cpu()[places[order]]
    kept = min(options, key=lambda option: _loss(answers[option], known))
    return CrossValidation(kept, _mean_curve(fits), places[order], known, answers[kept])


def _loss(probabilities: Tensor, labels: Tensor) -> float:
    return F.nll_loss(probabilities.double().clamp_min(1e-12).log(), labels).item()


def _mean_curve(fits: Sequence[Fit]) -> tuple[Evaluation, ...]:
    return tuple(_mean(points) for points in zip(*(fit.curve for fit in fits), strict=True))


def _mean(points: Sequence[Evaluation]) -> Evaluation:
    scores = [point.label_free for point in points if point.label_free is not None]
    return Evaluation(
        step=points[0].step,
        learning_rate=points[0].learning_rate,
        train_loss=fmean(point.train_loss for point in points),
        val_loss=fmean(point.val_loss for point in points),
        val_accuracy=fmean(point.val_accuracy for point in points),
        label_free=fmean(scores) if scores else None,
    )
