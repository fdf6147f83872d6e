"""Model level: the source's images that look like the target's join the target's few."""

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
"""Images of each domain, at most, that a score is learned from."""
_CHUNK = 4096
"""Source images that are scored at once: memory stays flat however many there are."""


@dataclass(frozen=True)
class AdaptiveSampling(Strategy):
    """Find the source images whose features resemble the target's, and train on them next to the target's labels.

    Minimises (1 - s) L_target + s L_source, where source images are drawn in proportion to w(x)^`sharpness` among the
    best `share`, and w estimates p_target(x) / p_source(x) over the source network's features (Sugiyama, Suzuki &
    Kanamori 2012, 'Density Ratio Estimation in Machine Learning'; instances chosen for transfer: Pan & Yang 2010,
    section 3.1). What the target looks like is learned from its unlabelled pool. Each domain has a head of its
    own over shared features. It fails when no part of the source resembles the target, or when what resembles it is
    labelled differently there.
    """

    score: Literal["density_ratio", "nearest_neighbour", "classifier"] = "nearest_neighbour"
    """How likeness is measured: a ratio of densities fitted by least squares (uLSIF; Kanamori et al. 2009), the cosine
    distance to the nearest target images, or the odds of a logistic domain classifier (Bickel et al. 2009)."""
    share: Annotated[float, Gt(0.0), Le(1.0), Searched(0.05, 1.0)] = 0.3
    """Share of the source that is drawn from: its best."""
    among: Literal["auto", "class", "all"] = "auto"
    """The best of each class, so that none is lost, or of all images, so that classes that resemble nothing of the
    target are left out. `auto`: of each class, if the target has every class of the source."""
    sharpness: Annotated[float, Ge(0.0), Le(1.0)] = 0.0
    """0 draws the chosen images alike, 1 in proportion to their likeness."""
    source_share: Fraction = 0.5
    """Weight s of the source's loss at the first step."""
    final_source_share: Fraction = 0.0
    """Weight s of the source's loss at the last step; it falls or rises linearly between."""
    head_rate: Positive = 3.0
    """Learning rate of the target's new head, relative to the rest."""

    @property
    def uses_source_data(self) -> bool:
        """Yes."""
        return True

    @property
    def uses_unlabelled(self) -> bool:
        """Yes: to learn what the target looks like."""
        return True

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head for the target; the source's classes keep theirs."""
        source.extras["source_head"] = source.head
        fresh_head(source, classes)
        return source

    def source_weights(self, network: Network, domains: Domains) -> Tensor:
        """Likeness to the target turned into a draw."""
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
        """The domains pass apart, and only the target's images move batch norm's running statistics."""
        share = self.source_share + (self.final_source_share - self.source_share) * step.progress
        target_loss = step.target.cross_entropy(network(step.target.images))
        with statistics_kept(network.backbone):
            of_source = network.features(step.source.images)
        source_loss = step.source.cross_entropy(network.extras["source_head"](of_source))
        return (1 - share) * target_loss + share * source_loss


def _sample(network: Network, split: Split) -> Tensor:
    """Features of images spread evenly over a split, (S, D) on the CPU."""
    chosen = torch.linspace(0, len(split) - 1, min(len(split), _SAMPLE), device=split.images.device).long()
    return predict(network, split.images[chosen])[1]
