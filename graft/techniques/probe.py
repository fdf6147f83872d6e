"""A linear probe on frozen features, fitted to its optimum; its regularisation is selected on validation data.

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
"""Regularisation strengths, from strong to weak, so that the stronger of two equally good probes is selected."""

_PATIENCE = 2
"""Stop after this many weaker strengths in a row without a better validation loss: weak ones take longest to fit."""
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
    training: Split,
    validation: Split,
    source_head: nn.Linear | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> nn.Linear:
    """The probe D -> K with the lowest validation loss; each candidate is fitted to its optimum.

    Features are centred and scaled by one common factor, so that a feature vector has a length of about 1 and a
    strength means the same for every backbone. Each feature keeps its relative scale: with few images, standardisation
    would give a feature that hardly varies as much weight as one with a strong signal.

    Args:
        training: features (N, D) instead of images, with labels.
        validation: the same.
        source_head: D -> S; with it, validation also selects the point towards which the weights are regularised:
            zero, or this head mapped to the target's classes (`related_head`).
        strengths: of the penalty on the weights' distance from that point, from strong to weak.
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
    """Give the network's head the weights of a probe on the features of its current backbone."""
    network.eval()
    training, validation = (
        replace(split, images=predict(network, split.images)[1].to(split.labels.device))
        for split in (domains.target, domains.validation)
    )
    _fit_head(network, training, validation)


def _fit_head(network: Network, training: Split, validation: Split) -> None:
    """Give the network's head the weights of a probe on features, and drop the remembered source head."""
    remembered = network.extras.pop(_SOURCE_HEAD) if _SOURCE_HEAD in network.extras else None
    found = fit_probe(training, validation, cast(nn.Linear | None, remembered))
    network.head.load_state_dict(found.state_dict())


def _on_plain_features(probe: nn.Linear, mean: Tensor, length: Tensor, known: nn.Linear | None) -> nn.Linear:
    """The layer on unscaled features that equals `probe` on scaled ones, plus `known`; in single precision."""
    weight = probe.weight.double() / length
    bias = probe.bias - weight @ mean
    found = nn.Linear(probe.in_features, probe.out_features, device=probe.weight.device)
    found.weight.copy_(weight + known.weight if known else weight)
    found.bias.copy_(bias + known.bias if known else bias)
    return found


@dataclass(frozen=True)
class Probing(Strategy):
    """Base of strategies that fit a linear probe on a frozen backbone."""

    optimises: ClassVar[bool] = False

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit the probe on the cached features; it becomes the network's head."""
        _fit_head(network, domains.target, domains.validation)
