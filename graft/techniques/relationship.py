"""The relationship of target classes to source classes, from the source head's predictions on target images.

Legend: N images, D features, K classes of the target, S classes of the source.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.on_disk import in_memory
from graft.data.sampling import all_but, folds
from graft.data.split import Split
from graft.techniques.calibration import fit_temperature
from graft.techniques.logistic import logistic_regression, logistic_regressions

_DECAYS = tuple(10 ** (-power / 2) for power in range(13))
"""Regularisation strengths that the reverse approach tries: from 1 to a millionth."""
_FOLDS = 5


def direct_relationship(probabilities: Tensor, labels: Tensor, classes: int) -> Tensor:
    """p(y_s | y_t) as (K, S): the mean of probabilities (N, S) over the images of each target class, by labels (N,).

    A class without an image has a row of zeros, which is never used.
    """
    members = F.one_hot(labels, classes).to(probabilities.dtype)
    return members.T @ probabilities / members.sum(dim=0).clamp_min(1)[:, None]


def reverse_relationship(seen: Split) -> Tensor:
    """p(y_s | y_t) as (K, S) by Bayes' rule; `seen` holds the source's probabilities (N, S) instead of images.

    p(y_t | y_s) is the prediction of a logistic regression of the labels on the probabilities, for a source prediction
    with probability 1, and p(y_s) is the mean of the probabilities. The predictions of a cross-validation select the
    strength of the regression (lowest loss) and its temperature (`fit_temperature`); without any, where no class has
    two images, the strongest is used as it is.
    """
    x, labels, classes = in_memory(seen.images).double(), seen.labels, len(seen.classes)
    held, decay, temperature = folds(seen, _FOLDS), _DECAYS[0], 1.0
    if held:
        shares = torch.stack([all_but(len(x), places) for places in held]).to(x.device)
        fitted, lowest = None, torch.inf
        for tried in _DECAYS:
            fitted = logistic_regressions(x, labels, classes, decay=tried, shares=shares, start=fitted)
            logits = (x @ fitted[0].transpose(1, 2) + fitted[1][:, None])[~shares]
            answers = labels.expand(len(held), -1)[~shares]
            loss = F.cross_entropy(logits, answers).item()
            if loss < lowest:
                lowest, decay, temperature = loss, tried, fit_temperature(logits, answers) or 1.0
    judge = logistic_regression(x, labels, classes, decay=decay)
    sure = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    joint = (judge(sure) / temperature).softmax(dim=1) * x.mean(dim=0)[:, None]  # (S, K)
    found: Tensor = (joint / joint.sum(dim=0)).T
    return found.to(in_memory(seen.images).dtype)


@torch.no_grad()
def related_head(head: nn.Linear, training: Split) -> nn.Linear:
    """The source's head D -> S mapped to the target's classes, D -> K; `training` holds features (N, D), not images.

    The weights of a target class are the mean of those of the source classes, weighted by the direct relationship. So
    the logit of class y_t for an image x is sum_s p(y_s | y_t) log p(y_s | x), up to a term that all classes share: it
    is higher the less the source's prediction differs, in cross-entropy, from its mean prediction for the class.
    """
    classes = len(training.classes)
    table = direct_relationship(head(in_memory(training.images)).softmax(dim=1), training.labels, classes)
    found = nn.Linear(head.in_features, classes, device=head.weight.device)
    found.weight.copy_(table @ head.weight)
    found.bias.copy_(table @ head.bias)
    return found
