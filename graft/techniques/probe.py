"""A linear probe on frozen features, fitted to its optimum; how it is regularised is chosen on validation.

Legend: N images, D features, K classes of the target, S classes of the source.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.contract import Strategy
from graft.data.on_disk import in_memory
from graft.data.split import Domains, Split
from graft.networks.network import Network, predict
from graft.techniques.logistic import logistic_regression
from graft.techniques.relationship import related_head

STRENGTHS = tuple(10.0**exponent for exponent in range(1, -7, -1))
"""From strong to weak, so that the stronger of two equally good probes is chosen."""

_PATIENCE = 2
"""Weaker strengths in a row that validation likes no better, after which no weaker one is tried: they take longest."""
_FREE = 1e-3
"""Below this strength a probe is much the same wherever it is kept near."""
_TOLERANCE = 1e-5
"""Of the gradient. Finer ones cost time and move the validation loss by less than a hundredth of itself."""
_SOURCE_HEAD = "source_head"


def remember_head(network: Network) -> None:
    """Keep the network's head next to it, if it has one, until a probe has been fitted that may be kept near it."""
    if network.description.classes:
        network.extras[_SOURCE_HEAD] = network.head


@torch.no_grad()
def fit_probe(
    training: Split,
    validation: Split,
    source_head: nn.Linear | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> nn.Linear:
    """The probe D -> K of lowest validation loss, each of those to choose from at its optimum.

    Features are centred and scaled together, so that those of an image have a length of about 1 and a strength means
    the same for every backbone. Each keeps its share of that length: with a few images, standardisation would make
    as much of a feature that hardly varies as of one that the backbone is sure of.

    Args:
        training: features (N, D) in place of images, with labels.
        validation: the same.
        source_head: D -> S; with it, validation also chooses what the weights are kept near: zero, or this head in
            terms of the target's classes (`related_head`).
        strengths: of the penalty on the weights' distance from there, from strong to weak.
    """
    seen, held, classes = in_memory(training.images), in_memory(validation.images), len(training.classes)
    features = seen.double()
    mean, spread = features.mean(dim=0), features.std(dim=0, correction=0)
    length = spread.square().sum().sqrt().clamp_min(torch.finfo(torch.float).tiny)
    scaled, best, lowest = ((features - mean) / length).float(), None, torch.inf
    for known in [None, related_head(source_head, training)] if source_head else [None]:
        added = known(seen) if known else None
        fitted, here, worse = None, torch.inf, 0
        for strength in strengths:
            if known and strength < _FREE:
                break
            fitted = logistic_regression(
                scaled, training.labels, classes, decay=strength, start=fitted, offset=added, tolerance=_TOLERANCE
            )
            probe = _on_plain_features(fitted, mean, length, known)
            loss = F.cross_entropy(probe(held).double(), validation.labels).item()
            if loss < lowest:
                best, lowest = probe, loss
            here, worse = (loss, 0) if loss < here else (here, worse + 1)
            if worse == _PATIENCE:
                break
    assert best is not None, "an optimum's loss is a number"
    return best


def probed_head(network: Network, domains: Domains) -> None:
    """Give the network's head the weights of a probe on the features of its body as it is."""
    network.eval()
    training, validation = (
        replace(split, images=predict(network, split.images)[1].to(split.labels.device))
        for split in (domains.target, domains.validation)
    )
    _fit_head(network, training, validation)


def _fit_head(network: Network, training: Split, validation: Split) -> None:
    """Give the network's head the weights of a probe on features, and forget the one that was remembered."""
    remembered = network.extras.pop(_SOURCE_HEAD) if _SOURCE_HEAD in network.extras else None
    found = fit_probe(training, validation, cast(nn.Linear | None, remembered))
    network.head.load_state_dict(found.state_dict())


def _on_plain_features(probe: nn.Linear, mean: Tensor, length: Tensor, known: nn.Linear | None) -> nn.Linear:
    """The layer that says of features what `probe` says of scaled ones, and `known` as well; in single precision."""
    weight = probe.weight.double() / length
    bias = probe.bias - weight @ mean
    found = nn.Linear(probe.in_features, probe.out_features, device=probe.weight.device)
    found.weight.copy_(weight + known.weight if known else weight)
    found.bias.copy_(bias + known.bias if known else bias)
    return found


@dataclass(frozen=True)
class Probing(Strategy):
    """What strategies share that fit a linear probe on a frozen body."""

    optimises: ClassVar[bool] = False

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit it on the features, which were computed once; it becomes the network's head."""
        _fit_head(network, domains.target, domains.validation)
