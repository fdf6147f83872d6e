"""Calibration of a network's confidence: one temperature, fitted on images held out of training.

Legend: N images, K classes.
"""

from torch import Tensor

_HALVINGS = 60
"""Bisection steps: more than double precision can resolve."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """The T > 0 that minimises the mean negative log-likelihood of the labels under softmax(logits / T).

    Temperature scaling (Guo, Pleiss, Sun & Weinberger 2017, 'On Calibration of Modern Neural Networks'). The
    log-likelihood is concave in 1 / T, so its slope changes sign once; bisection finds where.

    Args:
        logits: (N, K), of images held out of training.
        labels: (N,), from 0 to K - 1.

    Returns:
        None if no T is optimal: without any error a lower T is always better; with logits no better than chance, a
        higher one is.
    """
    values = logits.detach().double().cpu()
    values = values - values.amax(dim=1, keepdim=True)
    of_label = values.gather(1, labels.cpu()[:, None])[:, 0]

    def slope(sharpness: float) -> float:
        """Derivative of the mean negative log-likelihood by 1 / T: expected logit minus the label's logit."""
        expected = ((values * sharpness).softmax(dim=1) * values).sum(dim=1)
        return (expected - of_label).mean().item()

    if slope(0.0) >= 0 or bool((of_label == 0).all()):
        return None
    low, high = 0.0, 1.0
    while slope(high) < 0:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / high
