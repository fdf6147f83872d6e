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
    weight, bias = logistic_regressions(
        features,
        labels,
        classes,
        decay=decay,
        shares=(torch.ones(len(features)) if weights is None else weights)[None],
        start=(start.weight[None], start.bias[None]) if start else None,
        offset=None if offset is None else offset.expand(len(features), classes)[None],
        tolerance=tolerance,
    )
    found = nn.Linear(features.shape[1], classes, device=features.device, dtype=features.dtype).requires_grad_(False)
    found.weight.copy_(weight[0])
    found.bias.copy_(bias[0])
    return found


def logistic_regressions(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    decay: float,
    shares: Tensor,
    start: tuple[Tensor, Tensor] | None = None,
    offset: Tensor | None = None,
    tolerance: float = 1e-9,
) -> tuple[Tensor, Tensor]:
    """Several such layers at once, on the same images with other weights: weights (F, K, D) and biases (F, K).

    The sum of their losses is minimised, which minimises each; one fit takes little longer than a single one.

    Args:
        features: (N, D).
        labels: (N,).
        classes: K.
        decay: as above.
        shares: (F, N), the weight of each image for each layer; 0 leaves it out.
        start: initial weights and biases instead of zero.
        offset: (F, N, K), fixed logits.
        tolerance: as above.
    """
    x, count = features.detach(), len(shares)
    share = shares.to(x) / shares.to(x).sum(dim=1, keepdim=True)
    added = x.new_zeros(1) if offset is None else offset.detach().to(x)
    weight = start[0].to(x, copy=True) if start else x.new_zeros(count, classes, x.shape[1])
    bias = start[1].to(x, copy=True) if start else x.new_zeros(count, classes)
    known = labels.expand(count, -1)
    optimiser = torch.optim.LBFGS(
        [weight.requires_grad_(), bias.requires_grad_()],
        max_iter=200,
        tolerance_grad=tolerance,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = x @ weight.transpose(1, 2) + bias[:, None] + added  # (F, N, K)
        fit = (share * F.cross_entropy(logits.transpose(1, 2), known, reduction="none")).sum()
        loss = fit + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    return weight.detach(), bias.detach()
