"""Minimum class confusion: target predictions should not be spread over several classes.

Legend: B batch, K classes.
"""

from torch import Tensor

from graft.techniques.alignment.base import Alignment, Outputs, entropy


class MccAlignment(Alignment):
    """Confusion of classes on the target (Jin et al. 2020, 'Minimum Class Confusion for Versatile Domain Adaptation').

    It uses target images only.
    """

    def __init__(self, temperature: float = 2.5) -> None:
        super().__init__()
        self.temperature = temperature

    def distance(self, source: Outputs, target: Outputs, progress: float) -> Tensor:
        """Class confusion of the target's batch."""
        del source, progress
        return class_confusion(target.logits, self.temperature)


def class_confusion(logits: Tensor, temperature: float) -> Tensor:
    """Mean over classes of the share of a class's predictions that goes to other classes; logits (B, K).

    With p = softmax(logits / temperature) and weights w that grow with confidence, C = pᵀ diag(w) p (K, K), each row
    scaled to the sum 1; the loss is the off-diagonal sum over K. Scaling the rows keeps frequent classes from
    dominating. No gradient flows through the weights, B (1 + exp(-H)) / their sum.
    """
    p = (logits / temperature).softmax(dim=1)
    certainty = 1 + (-entropy(p.detach())).exp()
    weights = len(p) * certainty / certainty.sum()
    confusion = (weights[:, None] * p).T @ p
    confusion = confusion / confusion.sum(dim=1, keepdim=True).clamp_min(1e-12)
    return 1 - confusion.diagonal().sum() / len(confusion)
