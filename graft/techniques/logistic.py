"""Logistic regression on features, fitted to its optimum without a training loop.

Legend: N images, D features, K classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def logistic_regression(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    decay: float,
    weights: Tensor | None = None,
    start: nn.Linear | None = None,
    offset: Tensor | None = None,
    tolerance: float = 1e-9,
) -> nn.Linear:
    """The linear layer D -> K that minimises the weighted mean cross-entropy + decay / 2 |W|^2.

    Args:
        features: (N, D); their device and precision are those of the fit.
        labels: (N,), from 0 to K - 1.
        decay: strength of the regularisation, above zero, so that the optimum is unique; the bias is not regularised.
        weights: (N,), weight of each image; all equal by default.
        start: initial layer instead of zero (warm start): faster if the optimum for another strength is known.
        offset: (N, K), fixed logits that are added to the layer's during the fit.
        tolerance: the fit ends when no component of the gradient is larger.
    """
    x = features.detach()
    share = x.new_ones(len(x)) if weights is None else weights.to(x)
    share = share / share.sum()
    added = x.new_zeros(1) if offset is None else offset.detach().to(x)
    found = nn.Linear(x.shape[1], classes, device=x.device, dtype=x.dtype)
    with torch.no_grad():
        found.weight.copy_(start.weight if start else torch.zeros_like(found.weight))
        found.bias.copy_(start.bias if start else torch.zeros_like(found.bias))
    optimiser = torch.optim.LBFGS(
        found.parameters(),
        max_iter=200,
        tolerance_grad=tolerance,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        fit = (share * F.cross_entropy(found(x) + added, labels, reduction="none")).sum()
        loss = fit + decay / 2 * found.weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return found.requires_grad_(False)
