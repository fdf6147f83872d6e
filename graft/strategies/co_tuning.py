"""Against forgetting and overfitting: the source's head learns on, from target labels translated into source classes.

Legend: N images, D features, K classes of the target, S classes of the source.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from graft.contract import Step, Strategy
from graft.data.split import Domains, Split
from graft.networks.heads import fresh_head
from graft.networks.network import Network, predict
from graft.settings import Positive, Searched
from graft.techniques.relationship import direct_relationship, reverse_relationship


@dataclass(frozen=True)
class CoTuning(Strategy):
    """Fine-tune with the source's head kept next to the new one, and taught what each target class is to the source.

    Minimises CE(target head, y_t) + weight * CE(source head, p(y_s | y_t)) on the target's images; both heads
    stand on the same features (You, Kou, Long & Wang 2020, 'Co-Tuning for Transfer Learning'). p(y_s | y_t) comes
    from the source network's predictions for the training images, before anything has moved, by either approach
    of the paper: their mean over the images of class y_t (direct), or Bayes' rule on p(y_t | y_s), a logistic
    regression of the target's classes on these predictions (reverse), for which one label per class is little. As in
    the paper the predictions are first made as sure as they are right, by a temperature that pretraining fitted on
    the source's images it had held out, and the regression's strength and temperature are chosen on the target's
    validation images. The authors take the reverse approach and a weight of 2.3; their averages count validation
    images too, from which here nothing is learned. It fails when the source confuses the target's classes: then the
    source head's labels are wrong, and both heads share the features.
    """

    weight: Annotated[float, Ge(0.0), Searched(0.1, 10.0)] = 1.0
    """Weight of the source head's loss; the paper's lambda."""
    relationship: Literal["direct", "reverse"] = "direct"
    """How p(y_s | y_t) is learned."""
    temperature: Positive | None = None
    """The source network's logits are divided by this; above 1 it is less sure of the class that it sees. None: by what
    pretraining found, or 1 where it found nothing."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head; the old one stays next to it."""
        if not source.description.classes:
            raise ValueError("co_tuning teaches the source's head on, and the source's weights have none")
        source.extras["source_head"] = source.head
        source.extras["softmax"] = Softmax(self.temperature or source.description.temperature or 1.0)
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Learn how the classes are related."""
        target, seen = domains.target, _of_source(network, domains.target)
        if self.relationship == "direct":
            table = direct_relationship(seen, target.labels, len(target.classes))
        else:
            judged_by = _of_source(network, domains.validation), domains.validation.labels
            table = reverse_relationship(seen, target.labels, len(target.classes), judged_by)
        network.extras["relationship"] = nn.Embedding.from_pretrained(table)

    def loss(self, network: Network, step: Step) -> Tensor:
        """The cross-entropies of both heads."""
        features = network.features(step.target.images)
        translated = network.extras["relationship"](step.target.labels)
        of_source = F.cross_entropy(network.extras["source_head"](features), translated)
        return step.target.cross_entropy(network.head(features)) + self.weight * of_source


class Softmax(nn.Module):
    """Logits (N, S) over a temperature, as probabilities."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logits: Tensor) -> Tensor:
        """(N, S) -> (N, S)."""
        return (logits / self.temperature).softmax(dim=1)


@torch.no_grad()
def _of_source(network: Network, pictures: Split) -> Tensor:
    """What the source's head takes images for: probabilities (N, S)."""
    features = predict(network, pictures.images)[1].to(pictures.images.device)
    found: Tensor = network.extras["softmax"](network.extras["source_head"](features))
    return found
