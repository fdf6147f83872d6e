"""A linear probe on frozen features, fitted to its optimum; its regularisation is selected by cross-validation.

Legend: N images, D features, K classes of the target, S classes of the source.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.on_disk import in_memory
from graft.data.sampling import all_but, folds
from graft.data.source_labels import of_shared_classes
from graft.data.split import Domains, Split
from graft.networks.network import Network, predict
from graft.techniques.head_only import HeadOnly
from graft.techniques.logistic import logistic_regression, logistic_regressions
from graft.techniques.relationship import related_head
from graft.techniques.span import Span

STRENGTHS = tuple(10.0**exponent for exponent in range(1, -7, -1))
"""Regularisation strengths, from strong to weak, so that the stronger of two equally good probes is selected."""

FOLDS = 5
"""Of the cross-validation within the images that the probe learns from."""
SOURCE_SHARES = (0.25, 0.5, 0.75)
"""Shares of the source's images in the loss that cross-validation compares with 0."""
MOST_SOURCE = 500
"""Source images that a probe learns from, at most: more cost time and change little."""
_ALONE, _ALONE_WITH_SOURCE, _BLIND_SHARE = 1e-2, 1e-3, 0.9
"""The strength, without and with source images, and the share of these, where there is nothing to choose by: one image
per class."""
_PATIENCE = 2
"""Stop after this many weaker strengths in a row without a better loss: weak ones take longest to fit."""
_FREE = 1e-3
"""Below this strength, the point towards which a probe is regularised hardly matters."""
_TOLERANCE = 1e-4
"""Tolerance of the gradient in a cross-validation; a tenth of it for the fit to all images. Smaller ones cost time and
change the losses by less than a hundredth."""
_SOURCE_HEAD = "source_head"


def remember_head(network: Network) -> None:
    """Keep the network's head, if it has one, in the extras until a probe has been fitted, which may start from it."""
    if network.description.classes:
        network.extras[_SOURCE_HEAD] = network.head


@dataclass(frozen=True)
class Choice:
    """What a cross-validation prefers for a probe."""

    strength: float
    """Of the penalty on the weights' distance from `towards`."""
    towards: nn.Linear | None = None
    """A head D -> S towards whose mapping to the target's classes the weights are regularised; None: towards zero."""
    source_share: float = 0.0
    """Share of the source's images in the loss; 0 leaves them out."""

    def weight(self, labelled: float, source: int) -> float:
        """Weight of each of the source's images if those of the target weigh `labelled` in all."""
        return self.source_share / (1 - self.source_share) * labelled / source


@torch.no_grad()
def fit_probe(
    training: Split,
    source_head: nn.Linear | None = None,
    strengths: Sequence[float] = STRENGTHS,
    source: Split | None = None,
) -> nn.Linear:
    """The probe D -> K, fitted to its optimum as cross-validation prefers it, in the span of its features (`Span`).

    Args:
        training: features (N, D) instead of images, with labels. Each of `FOLDS` folds is predicted by probes that
            were fitted to the others; where no class has two images, there is nothing to choose by.
        source_head: D -> S; with it, cross-validation also selects the point towards which the weights are regularised:
            zero, or this head mapped to the target's classes (`related_head`).
        strengths: of the penalty on the weights' distance from that point, from strong to weak.
        source: further features with labels of the target's classes; their share in the loss is chosen too.
    """
    problem = _Problem(training, source)
    return problem.fit(_chosen(problem, training, source_head, strengths))


@torch.no_grad()
def best_choice(training: Split, source: Split | None = None) -> Choice:
    """What cross-validation prefers for a probe on features (N, D) that is regularised towards zero."""
    return _chosen(_Problem(training, source), training, None, STRENGTHS)


def _chosen(problem: "_Problem", training: Split, source_head: nn.Linear | None, strengths: Sequence[float]) -> Choice:
    held = folds(training, FOLDS)
    if not held:
        return _blind(problem, source_head, strengths)
    options = [Choice(0.0), *([Choice(0.0, source_head)] if source_head else [])]
    tried = [found for option in options for found in problem.losses(held, option, strengths)]
    best = min(tried, key=lambda found: found[0])
    for share in SOURCE_SHARES if problem.has_source else ():
        found = min(problem.losses(held, Choice(0.0, None, share), strengths), key=lambda found: found[0])
        if found[0] >= best[0]:
            break  # a larger share would be no better either
        best = found
    return best[1]


def _blind(problem: "_Problem", source_head: nn.Linear | None, strengths: Sequence[float]) -> Choice:
    """Where there is nothing to choose by."""
    if len(strengths) == 1:
        return Choice(strengths[0], source_head)
    if problem.has_source:
        return Choice(_ALONE_WITH_SOURCE, None, _BLIND_SHARE)
    return Choice(_ALONE, source_head)


class _Problem:
    """Labelled images of the target, and perhaps of the source, as coordinates in the span of their features."""

    def __init__(self, training: Split, source: Split | None = None) -> None:
        self._training, self._source = training, source
        self.has_source = source is not None
        parts = [training, source] if source else [training]
        self._features = torch.cat([in_memory(part.images) for part in parts])
        self._labels = torch.cat([part.labels for part in parts])
        self._span = Span(self._features)

    def losses(self, held: list[Tensor], option: Choice, strengths: Sequence[float]) -> Iterator[tuple[float, Choice]]:
        """For each strength, from strong to weak, the mean loss on the folds; stops when it has risen `_PATIENCE`
        times in a row."""
        count, classes = len(self._training), len(self._training.classes)
        places = self._places(option)
        x, labels = self._span.coordinates[:places], self._labels[:places]
        seen = torch.stack([all_but(count, each) for each in held]).to(labels.device)  # (F, N)
        offset = None
        if option.towards:
            heads = [related_head(option.towards, self._training.take(part.nonzero().flatten())) for part in seen]
            offset = torch.stack([head(self._features[:places]) for head in heads])  # (F, N, K)
        shares = torch.cat([seen.to(x), x.new_zeros(len(held), places - count)], dim=1)
        for row in shares if places > count else ():
            row[count:] = option.weight(float(row.sum()), places - count)
        fitted = None
        lowest, worse = torch.inf, 0
        for strength in strengths:
            if option.towards and strength < _FREE:
                return
            fitted = logistic_regressions(
                x, labels, classes, decay=strength, shares=shares, start=fitted, offset=offset, tolerance=_TOLERANCE
            )
            logits = x[:count] @ fitted[0].transpose(1, 2) + fitted[1][:, None]
            logits = logits if offset is None else logits + offset[:, :count]
            losses = F.cross_entropy(
                logits.double().transpose(1, 2), labels[:count].expand(len(held), -1), reduction="none"
            )  # (F, N)
            loss = losses[~seen].mean().item()
            yield loss, replace(option, strength=strength)
            lowest, worse = (loss, 0) if loss < lowest else (lowest, worse + 1)
            if worse == _PATIENCE:
                return

    def fit(self, choice: Choice) -> nn.Linear:
        """The probe on plain features, fitted to all images."""
        known = related_head(choice.towards, self._training) if choice.towards else None
        places = self._places(choice)
        weights, count = torch.ones(places), len(self._training)
        if places > count:
            weights[count:] = choice.weight(count, places - count)
        found = logistic_regression(
            self._span.coordinates[:places],
            self._labels[:places],
            len(self._training.classes),
            decay=choice.strength,
            weights=weights,
            offset=known(self._features[:places]) if known else None,
            tolerance=_TOLERANCE / 10,
        )
        return self._span.on_features(found, known)

    def _places(self, choice: Choice) -> int:
        """How many images are learned from: those of the target come first."""
        return len(self._labels) if choice.source_share else len(self._training)


def probed_head(network: Network, domains: Domains) -> None:
    """Give the network's head the weights of a probe on the features of its current backbone, of the target's images
    and, if there are any, the source's."""
    network.eval()
    seen = Domains(domains.target, source=domains.source)
    _fit_head(network, seen.map(lambda split: replace(split, images=_features(network, split))))


def _features(network: Network, split: Split) -> Tensor:
    return predict(network, split.images)[1].to(split.labels.device)


def _fit_head(network: Network, domains: Domains) -> None:
    """Give the network's head the weights of a probe on features, and drop the remembered source head."""
    remembered = network.extras.pop(_SOURCE_HEAD) if _SOURCE_HEAD in network.extras else None
    source = of_shared_classes(domains.source, domains.target.classes, MOST_SOURCE)
    found = fit_probe(domains.target, cast(nn.Linear | None, remembered), source=source)
    network.head.load_state_dict(found.state_dict())


@dataclass(frozen=True)
class Probing(HeadOnly):
    """Base of strategies that fit a linear probe on a frozen backbone."""

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit the probe on the cached features; it becomes the network's head."""
        _fit_head(network, domains)
