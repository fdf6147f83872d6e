"""Against forgetting and overfitting: the source's head trains on, with target labels translated to source classes.

Legend: N images, D features, K classes of the target, S classes of the source.
"""

from dataclasses import dataclass, replace
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
    """Fine-tune with the source's head alongside the new one, trained on the source classes of each target class.

    Minimises CE(target head, y_t) + weight * CE(source head, p(y_s | y_t)) on the target's images; both heads
    use the same features (You, Kou, Long & Wang 2020, 'Co-Tuning for Transfer Learning'). p(y_s | y_t) comes
    from the source network's predictions for the training images, before any training, by either approach of the
    paper: their mean over the images of class y_t (direct), or Bayes' rule on p(y_t | y_s), a logistic regression of
    the target's classes on these predictions (reverse), for which one label per class is too few. As in the paper, the
    predictions are first calibrated, with a temperature that pretraining fitted on held-out source images, and the
    regression's strength and temperature are selected by cross-validation. The authors use the reverse approach and a
    weight of 2.3. It fails when the source confuses the target's classes: then the source head's labels are wrong, and
    both heads share the features.
    """

    weight: Annotated[float, Ge(0.0), Searched(0.1, 10.0)] = 1.0
    """Weight of the source head's loss; the paper's lambda."""
    relationship: Literal["direct", "reverse"] = "direct"
    """How p(y_s | y_t) is estimated."""
    temperature: Positive | None = None
    """The source network's logits are divided by this; above 1 it is less confident. None: the temperature that
    pretraining fitted, or 1 if there is none."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head; the source's head is kept in the extras."""
        if not source.description.classes:
            raise ValueError("co_tuning trains the source's head, but the source's weights have no head")
        source.extras["source_head"] = source.head
        source.extras["softmax"] = Softmax(self.temperature or source.description.temperature or 1.0)
        fresh_head(source, classes)
        return source

    def begin(self, network: Network, domains: Domains) -> None:
        """Estimate the relationship of the classes."""
        target, seen = domains.target, _of_source(network, domains.target)
        if self.relationship == "direct":
            table = direct_relationship(seen, target.labels, len(target.classes))
        else:
            table = reverse_relationship(replace(target, images=seen))
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
    """The source head's probabilities (N, S) for images."""
    features = predict(network, pictures.images)[1].to(pictures.images.device)
    found: Tensor = network.extras["softmax"](network.extras["source_head"](features))
    return found
