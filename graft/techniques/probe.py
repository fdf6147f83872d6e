"""A linear probe on frozen features, fitted to its optimum; its regularisation is selected by cross-validation.

Legend: N images, D features, K classes of the target, S classes of the source.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.contract import Strategy
from graft.data.on_disk import in_memory
from graft.data.sampling import folds
from graft.data.split import Domains, Split
from graft.networks.network import Network, predict
from graft.techniques.logistic import logistic_regression, logistic_regressions
from graft.techniques.relationship import related_head

STRENGTHS = tuple(10.0**exponent for exponent in range(1, -7, -1))
"""Regularisation strengths, from strong to weak, so that the stronger of two equally good probes is selected."""

FOLDS = 5
"""Of the cross-validation within the images that the probe learns from."""
_ALONE = 1e-2
"""The strength where there is nothing to select by: one image per class."""
_PATIENCE = 2
"""Stop after this many weaker strengths in a row without a better loss: weak ones take longest to fit."""
_FREE = 1e-3
"""Below this strength, the point towards which a probe is regularised hardly matters."""
_TOLERANCE = 1e-5
"""Tolerance of the gradient. Smaller ones cost time and change the validation loss by less than a hundredth of it."""
_SOURCE_HEAD = "source_head"


def remember_head(network: Network) -> None:
    """Keep the network's head, if it has one, in the extras until a probe has been fitted, which may start from it."""
    if network.description.classes:
        network.extras[_SOURCE_HEAD] = network.head


@torch.no_grad()
def fit_probe(
    training: Split, source_head: nn.Linear | None = None, strengths: Sequence[float] = STRENGTHS
) -> nn.Linear:
    """The probe D -> K, fitted to its optimum with the strength that cross-validation prefers.

    Features are centred and scaled by one common factor, so that a feature vector has a length of about 1 and a
    strength means the same for every backbone. Each feature keeps its relative scale: with few images, standardisation
    would give a feature that hardly varies as much weight as one with a strong signal.

    Args:
        training: features (N, D) instead of images, with labels. Each of `FOLDS` folds is predicted by probes that
            were fitted to the others; where no class has two images, `_ALONE` is the strength.
        source_head: D -> S; with it, cross-validation also selects the point towards which the weights are regularised:
            zero, or this head mapped to the target's classes (`related_head`).
        strengths: of the penalty on the weights' distance from that point, from strong to weak.
    """
    problem = _Problem(training)
    towards, strength = _chosen(problem, training, source_head, strengths)
    return problem.fit(towards, strength)


@torch.no_grad()
def best_strength(training: Split) -> float:
    """The strength that cross-validation prefers for a probe on features (N, D) that is regularised towards zero."""
    return _chosen(_Problem(training), training, None, STRENGTHS)[1]


def _chosen(
    problem: "_Problem", training: Split, source_head: nn.Linear | None, strengths: Sequence[float]
) -> tuple[nn.Linear | None, float]:
    points = [None, source_head] if source_head else [None]
    held = folds(training, FOLDS)
    if not held:
        return points[-1], _ALONE if len(strengths) > 1 else strengths[0]
    tried = (found for towards in points for found in problem.losses(held, towards, strengths))
    _, towards, strength = min(tried, key=lambda found: found[0])
    return towards, strength


class _Problem:
    """The features of labelled images, scaled, and rotated into the space that they span: as many directions as images,
    if there are fewer of these than features. The penalty does not change with a rotation."""

    def __init__(self, training: Split) -> None:
        self._training, self._features = training, in_memory(training.images)
        features = self._features.double()
        self._mean, spread = features.mean(dim=0), features.std(dim=0, correction=0)
        self._length = spread.square().sum().sqrt().clamp_min(torch.finfo(torch.float).tiny)
        scaled = (features - self._mean) / self._length
        self._axes: Tensor | None = None
        if len(features) < features.shape[1]:
            self._axes = torch.linalg.svd(scaled, full_matrices=False)[2]
            scaled = scaled @ self._axes.T
        self._scaled = scaled.float()

    def losses(
        self, held: list[Tensor], towards: nn.Linear | None, strengths: Sequence[float]
    ) -> Iterator[tuple[float, nn.Linear | None, float]]:
        """For each strength, from strong to weak, the mean loss on the folds; stops when it has risen `_PATIENCE`
        times in a row."""
        labels, classes = self._training.labels, len(self._training.classes)
        seen = torch.stack([_all_but(len(labels), places) for places in held]).to(labels.device)  # (F, N)
        offset = None
        if towards:
            heads = [related_head(towards, self._training.take(part.nonzero().flatten())) for part in seen]
            offset = torch.stack([head(self._features) for head in heads])  # (F, N, K)
        fitted = None
        lowest, worse = torch.inf, 0
        for strength in strengths:
            if towards and strength < _FREE:
                return
            fitted = logistic_regressions(
                self._scaled,
                labels,
                classes,
                decay=strength,
                shares=seen,
                start=fitted,
                offset=offset,
                tolerance=_TOLERANCE,
            )
            logits = self._scaled @ fitted[0].transpose(1, 2) + fitted[1][:, None] + (0 if offset is None else offset)
            losses = F.cross_entropy(
                logits.double().transpose(1, 2), labels.expand(len(held), -1), reduction="none"
            )  # (F, N)
            loss = losses[~seen].mean().item()
            yield loss, towards, strength
            lowest, worse = (loss, 0) if loss < lowest else (lowest, worse + 1)
            if worse == _PATIENCE:
                return

    def fit(self, towards: nn.Linear | None, strength: float) -> nn.Linear:
        """The probe on plain features, fitted to all images."""
        known = related_head(towards, self._training) if towards else None
        found = logistic_regression(
            self._scaled,
            self._training.labels,
            len(self._training.classes),
            decay=strength,
            offset=known(self._features) if known else None,
            tolerance=_TOLERANCE,
        )
        weight = found.weight.double() if self._axes is None else found.weight.double() @ self._axes
        return _on_plain_features(weight, found.bias, self._mean, self._length, known)


def _all_but(count: int, held: Tensor) -> Tensor:
    """(N,) bool: false for the places that are held out."""
    return torch.ones(count, dtype=torch.bool).index_fill(0, held.cpu(), value=False)


def probed_head(network: Network, domains: Domains) -> None:
    """Give the network's head the weights of a probe on the features of its current backbone."""
    network.eval()
    images = predict(network, domains.target.images)[1].to(domains.target.labels.device)
    _fit_head(network, replace(domains.target, images=images))


def _fit_head(network: Network, training: Split) -> None:
    """Give the network's head the weights of a probe on features, and drop the remembered source head."""
    remembered = network.extras.pop(_SOURCE_HEAD) if _SOURCE_HEAD in network.extras else None
    found = fit_probe(training, cast(nn.Linear | None, remembered))
    network.head.load_state_dict(found.state_dict())


def _on_plain_features(
    weight: Tensor, bias: Tensor, mean: Tensor, length: Tensor, known: nn.Linear | None
) -> nn.Linear:
    """The layer on unscaled features that equals one with `weight` and `bias` on scaled ones, plus `known`; in single
    precision."""
    weight = weight / length
    bias = bias - weight @ mean
    found = nn.Linear(weight.shape[1], len(weight), device=weight.device)
    found.weight.copy_(weight + known.weight if known else weight)
    found.bias.copy_(bias + known.bias if known else bias)
    return found


@dataclass(frozen=True)
class Probing(Strategy):
    """Base of strategies that fit a linear probe on a frozen backbone."""

    optimises: ClassVar[bool] = False

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit the probe on the cached features; it becomes the network's head."""
        _fit_head(network, domains.target)
