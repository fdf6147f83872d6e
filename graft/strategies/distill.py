"""Changed architecture: a new, small network for the target learns from the source's."""

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
    """Train a small network on the target's labels and on what the source's network makes of images.

    Minimises (1 - s) L_target + s [T² KL(p_teacher || p_student) + h |P f_student - f_teacher|²], with p the softmax of
    logits over T, the first part on labelled and the second on `images`, s falling linearly from `teacher_share` to 0
    (soft labels: Hinton, Vinyals & Dean 2015, 'Distilling the knowledge in a neural network'; features: Romero et al.
    2015, 'FitNets: Hints for Thin Deep Nets'; P where their numbers differ). Soft labels are over the target's classes
    where the source has them all, else over the source's, through a second head; there are none where the source's
    weights have no head. The teacher stays as it was pretrained. It fails where a small network cannot hold what the
    target asks for, or where the teacher is wrong about the target: the student learns that as well.
    """

    teacher_share: Annotated[Fraction, Searched(0.1, 0.9)] = 0.5
    """Weight s of what the teacher says at the first step; it falls to 0 at the last."""
    temperature: Annotated[float, Gt(0.0)] = 2.0
    """T: higher shows more of what the teacher holds for less likely."""
    hint: Annotated[float, Ge(0.0)] = 1.0
    """Weight h of the distance to the teacher's features, in units of their variance."""
    images: Literal["labelled", "unlabelled", "source", "both"] = "both"
    """Where the student asks the teacher: on the target's labelled images, on all of its pool, on the source's, or on
    the pool and the source's."""
    student: str = "convnet_tiny"
    """Name of the new network's backbone."""
    student_rate: Annotated[float, Gt(0.0)] = 4.0
    """Learning rate, relative to the budget's: a network that starts from nothing bears, and needs, larger steps."""

    @property
    def uses_source_data(self) -> bool:
        """Where the teacher is asked about them."""
        return self.images in ("source", "both")

    @property
    def uses_unlabelled(self) -> bool:
        """Where the teacher is asked about them."""
        return self.images in ("unlabelled", "both")

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The student, with its teacher and what brings it to the teacher's classes and features."""
        known = source.description.classes
        if not (known or self.hint):
            raise ValueError("distill has nothing to teach: the source's weights have no head, and its hint is 0")
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
        """Each set of images passes apart; the source's leave no trace in batch norm's statistics."""
        share = self.teacher_share * (1 - step.progress)
        features = network.features(step.target.images)
        labelled = step.target.cross_entropy(network.head(features))
        told = []
        if self.images == "labelled":
            told.append(self._distance(network, step.target.images, features))
        if self.uses_unlabelled:
            told.append(self._distance(network, step.unlabelled.images, network.features(step.unlabelled.images)))
        if self.uses_source_data:
            with statistics_kept(network):
                features = network.features(step.source.images)
            told.append(self._distance(network, step.source.images, features))
        return (1 - share) * labelled + share * torch.stack(told).mean()

    def _distance(self, network: Network, images: Tensor, features: Tensor) -> Tensor:
        """From what the student makes of images (B, C, H, W), with features (B, D), to what the teacher does."""
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
