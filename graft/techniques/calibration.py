"""How sure a network may be of what it says: one number, fitted on images that it has not learned from.

Legend: N images, K classes.
"""

from torch import Tensor

_HALVINGS = 60
"""Of the interval that holds the optimum: more than a double can tell apart."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """The T > 0 at which softmax(logits / T) gives the labels the least mean negative log-likelihood.

    Temperature scaling (Guo, Pleiss, Sun & Weinberger 2017, 'On Calibration of Modern Neural Networks'). The
    likelihood is concave in 1 / T, so its slope changes sign once, and the place is found by halving.

    Args:
        logits: (N, K), of images held out of training.
        labels: (N,), from 0 to K - 1.

    Returns:
        None where no T is best: without a mistake sharper is always better, and where the logits are no better than
        chance, flatter is.
    """
    values = logits.detach().double().cpu()
    values = values - values.amax(dim=1, keepdim=True)
    of_label = values.gather(1, labels.cpu()[:, None])[:, 0]

    def slope(sharpness: float) -> float:
        """Of the mean negative log-likelihood, by 1 / T: how much larger the expected logit is than the label's."""
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
