"""A linear probe on frozen features, fitted to its optimum; the strength of its regularisation is chosen on validation.

Legend: N pictures, D features, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.logistic import logistic_regression
from graft.network import Network, predict
from graft.split import Domains, Split
from graft.strategies.base import Strategy

STRENGTHS = tuple(10.0**exponent for exponent in range(0, -7, -1))
"""From strong to weak, so that the stronger of two equally good probes is chosen."""


@torch.no_grad()
def fit_probe(training: Split, validation: Split, strengths: Sequence[float] = STRENGTHS) -> nn.Linear:
    """The probe D -> K of lowest validation loss among those of these strengths, each at its optimum.

    Features are centred and divided by the root of their spread (Pareto scaling, van den Berg et al. 2006, 'Centering,
    scaling, and transformations'): with a few pictures, full standardisation would make as much of a feature that
    hardly varies as of one that the backbone is sure of. They are then scaled together, so that those of a picture have
    a length of about 1 and a strength means the same for every backbone.

    Args:
        training: features (N, D) in place of pictures, with labels.
        validation: the same.
        strengths: of the penalty on the weights, from strong to weak.
    """
    features, classes = training.images.double(), len(training.classes)
    mean, spread = features.mean(dim=0), features.std(dim=0, correction=0)
    # A feature that hardly varies over a few pictures must not be blown up on others.
    spread = spread.clamp_min(0.01 * spread.mean() + torch.finfo(torch.float).tiny)
    scale = spread.sqrt() * spread.sum().sqrt()
    held = (validation.images.double() - mean) / scale
    best, lowest, start = None, torch.inf, None
    for strength in strengths:
        start = logistic_regression((features - mean) / scale, training.labels, classes, decay=strength, start=start)
        loss = F.cross_entropy(start(held), validation.labels).item()
        if loss < lowest:
            best, lowest = start, loss
    assert best is not None, "an optimum's loss is a number"
    return _on_plain_features(best, mean, scale)


def probed_head(network: Network, domains: Domains) -> None:
    """Give the network's head the weights of a probe on the features of its body as it is."""
    network.eval()
    training, validation = (
        replace(split, images=predict(network, split.images)[1].to(split.labels.device))
        for split in (domains.target, domains.validation)
    )
    network.head.load_state_dict(fit_probe(training, validation).state_dict())


def _on_plain_features(probe: nn.Linear, mean: Tensor, scale: Tensor) -> nn.Linear:
    """The layer that predicts from features what `probe` does from scaled ones, in single precision."""
    found = nn.Linear(probe.in_features, probe.out_features, device=probe.weight.device)
    weight = probe.weight / scale
    found.weight.copy_(weight)
    found.bias.copy_(probe.bias - weight @ mean)
    return found


@dataclass(frozen=True)
class Probing(Strategy):
    """What strategies share that fit a linear probe on a frozen body."""

    optimises: ClassVar[bool] = False

    def begin(self, network: Network, domains: Domains) -> None:
        """Fit it on the features, which were computed once; it becomes the network's head."""
        found = fit_probe(domains.target, domains.validation)
        network.head.load_state_dict(found.state_dict())
