"""Changed architecture: a new, small network for the target learns from the source network."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal, cast

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from graft.contract import ParameterGroup, Step, Strategy
from graft.networks.batch_norm import statistics_kept
from graft.networks.network import Frozen, Network
from graft.settings import Fraction, Searched
from graft.techniques.distillation import hint_loss, soft_label_loss


@dataclass(frozen=True)
class Distill(Strategy):
    """Train a small network on the target's labels and on the source network's outputs.

    Minimises (1 - s) L_target + s [T² KL(p_teacher || p_student) + h |P f_student - f_teacher|²], with p the softmax of
    logits over T, the first part on labelled images and the second on `images`, s falling linearly from `teacher_share`
    to 0 (soft labels: Hinton, Vinyals & Dean 2015, 'Distilling the knowledge in a neural network'; features: Romero et
    al. 2015, 'FitNets: Hints for Thin Deep Nets'; P if the feature sizes differ). Soft labels are over the target's
    classes if the source has them all, else over the source's, through a second head; there are none if the source's
    weights have no head. The teacher stays as it was pretrained. It fails where a small network lacks the capacity for
    the target, or where the teacher is wrong about the target: the student learns its errors too.
    """

    teacher_share: Annotated[Fraction, Searched(0.1, 0.9)] = 0.5
    """Weight s of the distillation loss at the first step; it falls to 0 at the last."""
    temperature: Annotated[float, Gt(0.0)] = 2.0
    """T: higher values show more of the teacher's less likely classes."""
    hint: Annotated[float, Ge(0.0)] = 1.0
    """Weight h of the distance to the teacher's features, in units of their variance."""
    images: Literal["labelled", "unlabelled", "source", "both"] = "both"
    """The images to distil on: the target's labelled images, its whole pool, the source's images, or the pool and the
    source's images."""
    student: str = "convnet_tiny"
    """Name of the new network's backbone."""
    student_rate: Annotated[float, Gt(0.0)] = 4.0
    """Learning rate, relative to the budget's: a network trained from scratch tolerates, and needs, larger steps."""

    @property
    def uses_source_data(self) -> bool:
        """If the student is distilled on source images."""
        return self.images in ("source", "both")

    @property
    def uses_unlabelled(self) -> bool:
        """If the student is distilled on the unlabelled pool."""
        return self.images in ("unlabelled", "both")

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The student, with its teacher and, if needed, a second head and a projection to the teacher's features."""
        known = source.description.classes
        if not (known or self.hint):
            raise ValueError("distill has nothing to teach: the source's weights have no head, and `hint` is 0")
        student = Network(replace(source.description.with_classes(classes), backbone=self.student))
        student.extras["teacher"] = Frozen(source)
        if known and not set(classes) <= set(known):
            student.extras["source_head"] = nn.Linear(student.feature_size, len(known))
        if self.hint and student.feature_size != source.feature_size:
            student.extras["projection"] = nn.Linear(student.feature_size, source.feature_size)
        return student

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The student, with its projection and its second head."""
        return [ParameterGroup([p for p in network.parameters() if p.requires_grad], self.student_rate)]

    def loss(self, network: Network, step: Step) -> Tensor:
        """Each set of images passes in a batch of its own; source images do not change batch norm's statistics."""
        share = self.teacher_share * (1 - step.progress)
        features = network.features(step.target.images)
        labelled = step.target.cross_entropy(network.head(features))
        distances = []
        if self.images == "labelled":
            distances.append(self._distance(network, step.target.images, features))
        if self.uses_unlabelled:
            distances.append(self._distance(network, step.unlabelled.images, network.features(step.unlabelled.images)))
        if self.uses_source_data:
            with statistics_kept(network):
                features = network.features(step.source.images)
            distances.append(self._distance(network, step.source.images, features))
        return (1 - share) * labelled + share * torch.stack(distances).mean()

    def _distance(self, network: Network, images: Tensor, features: Tensor) -> Tensor:
        """Distillation loss of the student's features (B, D) of images (B, C, H, W) against the teacher."""
        teacher = cast(Network, network.extras["teacher"].module)
        known = teacher.description.classes
        with torch.no_grad():
            wanted = teacher.features(images)
            logits = teacher.head(wanted)
        distance = features.new_zeros(())
        if "source_head" in network.extras:
            distance += soft_label_loss(network.extras["source_head"](features), logits, self.temperature)
        elif known:
            chosen = [known.index(name) for name in network.description.classes]
            distance += soft_label_loss(network.head(features), logits, self.temperature, chosen)
        if self.hint:
            projected = network.extras["projection"](features) if "projection" in network.extras else features
            distance += self.hint * hint_loss(projected, wanted)
        return distance
