"""What a student learns from a teacher: its soft labels and its features.

Legend: B images, K classes, D features.
"""

import torch.nn.functional as F
from torch import Tensor


def soft_label_loss(student: Tensor, teacher: Tensor, temperature: float, chosen: list[int] | None = None) -> Tensor:
    """T² KL(teacher || student) of logits (B, K) divided by T; its gradients stay of one size for any T.

    With `chosen` the student has those of the teacher's classes alone. Each image then weighs as much as the teacher
    is sure that it shows one of them: nothing is learned from images of other classes.
    """
    teacher = teacher.float()
    said = 1.0 if chosen is None else teacher.softmax(dim=1)[:, chosen].sum(dim=1)
    wanted = teacher if chosen is None else teacher[:, chosen]
    soft, log_soft = (wanted / temperature).softmax(dim=1), (student.float() / temperature).log_softmax(dim=1)
    divergence = F.kl_div(log_soft, soft, reduction="none").sum(dim=1)
    return temperature**2 * (said * divergence).mean()


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance of features (B, D), in units of the teacher's variance over the batch."""
    teacher = teacher.float()
    spread = teacher.var(dim=0, correction=0).mean().clamp_min(1e-6)
    return F.mse_loss(student.float(), teacher) / spread
