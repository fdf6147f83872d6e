"""Shared architecture: a new head on frozen features."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from graft.networks.network import Network
from graft.settings import Searched
from graft.techniques.probe import Probing, remember_head


@dataclass(frozen=True)
class LinearProbe(Probing):
    """Freeze the source's backbone and fit a new linear head on its features, which are computed only once.

    Minimises CE(W f(x) + b) + strength / 2 |W - W0|² over W and b with f fixed, to the optimum by L-BFGS, for eight
    strengths from 10 to 1e-6; the one with the lowest loss in a cross-validation is kept (Alain & Bengio 2016,
    'Understanding intermediate layers using linear classifier probes'; L-BFGS and a search over strengths: Kornblith
    et al. 2019, 'Do Better ImageNet Models Transfer Better?'). W0 is zero or, if that is better, the source's head
    mapped to the target's classes: for each, the mean of the source's classes, weighted by the source's predictions for
    its images (regularising towards a source's weights: Tommasi, Orabona & Caputo 2010, 'Safety in Numbers'; the
    weighting is that of You et al. 2020, 'Co-Tuning'). Cheap, hard to overfit, and without a learning rate. It fails
    when the source's features lack what separates the target's classes: then it falls below training from scratch.
    """

    views: Annotated[int, Ge(1), Searched(1, 16)] = 1
    """How many views of each training image pass through the backbone: 1 is the image as it is, more add augmented
    ones, which help at one label per class and cost one pass each."""

    related: bool = True
    """Whether cross-validation may select the source's head as W0: with few labels it is worth many, if the source has
    classes like the target's."""

    @property
    def feature_views(self) -> int:
        """The knob `views`."""
        return self.views

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a frozen backbone and a fresh head."""
        if self.related:
            remember_head(source)
        return super().adapt(source, classes)
