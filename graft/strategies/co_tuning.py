"""Against forgetting and overfitting: the source's head learns on, from target labels translated into source classes.

Legend: N pictures, D features, K classes of the target, S classes of the source.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from graft.heads import fresh_head
from graft.network import Network, predict
from graft.relationship import direct_relationship, reverse_relationship
from graft.settings import Positive, Searched
from graft.split import Domains
from graft.strategies.base import Step, Strategy


@dataclass(frozen=True)
class CoTuning(Strategy):
    """Fine-tune with the source's head kept beside the new one, and taught what each target class is to the source.

    Minimises CE(target head, y_t) + weight * CE(source head, p(y_s | y_t)) on the target's pictures; both heads
    stand on the same features (You, Kou, Long & Wang 2020, 'Co-Tuning for Transfer Learning'). p(y_s | y_t) comes
    from the source network's predictions for the training pictures, before anything has moved, by either approach
    of the paper: their mean over the pictures of class y_t (direct), or Bayes' rule on p(y_t | y_s), a logistic
    regression of the target's classes on these predictions (reverse), for which one label a class is little. The
    paper softens the predictions by a temperature found on source pictures held out of pretraining. Which those
    were is not known here, and pictures that were trained on ask for an ever sharper network; so the temperature is
    a knob. It fails when the source confuses the target's classes: then the source head's labels are wrong, and
    both heads share the features.
    """

    weight: Annotated[float, Ge(0.0), Searched(0.1, 10.0)] = 1.0
    """Weight of the source head's loss; the paper's lambda."""
    relationship: Literal["direct", "reverse"] = "direct"
    """How p(y_s | y_t) is learned."""
    temperature: Positive = 1.0
    """The source network's logits are divided by this; above 1 it is less sure of the class that it sees."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head; the old one stays beside it."""
        source.extras["source_head"] = source.head
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Learn how the classes are related."""
        target = domains.target
        features = predict(network, target.images)[1].to(target.images.device)
        with torch.no_grad():
            logits = network.extras["source_head"](features) / self.temperature
        learn = direct_relationship if self.relationship == "direct" else reverse_relationship
        table = learn(logits.softmax(dim=1), target.labels, len(target.classes))
        network.extras["relationship"] = nn.Embedding.from_pretrained(table)

    def loss(self, network: Network, step: Step) -> Tensor:
        """The cross-entropies of both heads."""
        features = network.features(step.target.images)
        translated = network.extras["relationship"](step.target.labels)
        of_source = F.cross_entropy(network.extras["source_head"](features), translated)
        return step.target.cross_entropy(network.head(features)) + self.weight * of_source
