"""Distillation losses: a student learns the soft labels and the features of a teacher.

Legend: B images, K classes, D features.
"""

import torch.nn.functional as F
from torch import Tensor


def soft_label_loss(student: Tensor, teacher: Tensor, temperature: float, chosen: list[int] | None = None) -> Tensor:
    """T² KL(teacher || student) of logits (B, K) divided by T; T² keeps the scale of the gradients the same for any T.

    With `chosen`, the student has only these of the teacher's classes. Each image is then weighted by the teacher's
    total probability of these classes: images of other classes have no effect.
    """
    teacher = teacher.float()
    said = 1.0 if chosen is None else teacher.softmax(dim=1)[:, chosen].sum(dim=1)
    wanted = teacher if chosen is None else teacher[:, chosen]
    soft, log_soft = (wanted / temperature).softmax(dim=1), (student.float() / temperature).log_softmax(dim=1)
    divergence = F.kl_div(log_soft, soft, reduction="none").sum(dim=1)
    return temperature**2 * (said * divergence).mean()


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance between features (B, D), in units of the teacher's variance over the batch."""
    teacher = teacher.float()
    spread = teacher.var(dim=0, correction=0).mean().clamp_min(1e-6)
    return F.mse_loss(student.float(), teacher) / spread
