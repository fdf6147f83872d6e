"""Model level: source images that resemble the target's are added to the few target images."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from graft.contract import ParameterGroup, Step, Strategy
from graft.data.split import Domains, Split
from graft.networks.batch_norm import statistics_kept
from graft.networks.heads import fresh_head
from graft.networks.network import Network, predict
from graft.settings import Fraction, Positive, Searched
from graft.techniques.density import Score, classifier_odds, density_ratio, draw_weights, nearest_neighbours

_SAMPLE = 2000
"""Most images per domain that a score is fitted to."""
_CHUNK = 4096
"""Source images that are scored at once: memory use does not grow with the source."""


@dataclass(frozen=True)
class AdaptiveSampling(Strategy):
    """Find the source images whose features resemble the target's, and train on them together with the target's labels.

    Minimises (1 - s) L_target + s L_source, where source images are sampled in proportion to w(x)^`sharpness` among
    the best `share`, and w estimates p_target(x) / p_source(x) over the source network's features (Sugiyama, Suzuki &
    Kanamori 2012, 'Density Ratio Estimation in Machine Learning'; instance transfer: Pan & Yang 2010, section 3.1).
    The target's distribution is estimated on its unlabelled pool. Each domain has its own head on shared features. It
    fails when no part of the source resembles the target, or when the similar images are labelled differently there.
    """

    score: Literal["density_ratio", "nearest_neighbour", "classifier"] = "nearest_neighbour"
    """The similarity measure: a density ratio fitted by least squares (uLSIF; Kanamori et al. 2009), the cosine
    distance to the nearest target images, or the odds of a logistic domain classifier (Bickel et al. 2009)."""
    share: Annotated[float, Gt(0.0), Le(1.0), Searched(0.05, 1.0)] = 0.3
    """Share of the source that is sampled from: its best images."""
    among: Literal["auto", "class", "all"] = "auto"
    """`class`: the best of each class, so that none is lost; `all`: the best of all images, so that classes unlike any
    of the target are left out; `auto`: `class` if the target has every class of the source."""
    sharpness: Annotated[float, Ge(0.0), Le(1.0)] = 0.0
    """0 samples the selected images uniformly, 1 in proportion to their similarity."""
    source_share: Fraction = 0.5
    """Weight s of the source's loss at the first step."""
    final_source_share: Fraction = 0.0
    """Weight s of the source's loss at the last step; it changes linearly in between."""
    head_rate: Positive = 3.0
    """Learning rate of the target's new head, relative to the rest."""

    @property
    def uses_source_data(self) -> bool:
        """Always: it trains on selected source images."""
        return True

    @property
    def uses_unlabelled(self) -> bool:
        """Always: the similarity is measured to the unlabelled pool."""
        return True

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head for the target; the source keeps its own head."""
        source.extras["source_head"] = source.head
        fresh_head(source, classes)
        return source

    def source_weights(self, network: Network, domains: Domains) -> Tensor:
        """Sampling weights from the similarity to the target."""
        assert domains.source is not None
        assert domains.unlabelled is not None
        like_target = self._score(_sample(network, domains.source), _sample(network, domains.unlabelled))
        chunks = domains.source.images.split(_CHUNK)
        scores = torch.cat([like_target(predict(network, chunk)[1]) for chunk in chunks])
        has_all = set(domains.source.classes) <= set(domains.target.classes)
        by_class = self.among == "class" or (self.among == "auto" and has_all)
        labels = domains.source.labels.cpu()
        return draw_weights(scores, labels if by_class else torch.zeros_like(labels), self.share, self.sharpness)

    def _score(self, source: Tensor, target: Tensor) -> Score:
        if self.score == "nearest_neighbour":
            return nearest_neighbours(target)
        return density_ratio(source, target) if self.score == "density_ratio" else classifier_odds(source, target)

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The target's head at its own rate; the backbone and the source's head."""
        return [
            ParameterGroup(list(network.head.parameters()), self.head_rate),
            ParameterGroup([*network.backbone.parameters(), *network.extras.parameters()]),
        ]

    def loss(self, network: Network, step: Step) -> Tensor:
        """The domains pass in separate batches; only target images update batch norm's running statistics."""
        share = self.source_share + (self.final_source_share - self.source_share) * step.progress
        target_loss = step.target.cross_entropy(network(step.target.images))
        with statistics_kept(network.backbone):
            of_source = network.features(step.source.images)
        source_loss = step.source.cross_entropy(network.extras["source_head"](of_source))
        return (1 - share) * target_loss + share * source_loss


def _sample(network: Network, split: Split) -> Tensor:
    """Features of evenly spaced images of a split, (S, D) on the CPU."""
    chosen = torch.linspace(0, len(split) - 1, min(len(split), _SAMPLE), device=split.images.device).long()
    return predict(network, split.images[chosen])[1]
