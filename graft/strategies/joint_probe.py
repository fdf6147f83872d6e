"""Model level: one linear head on frozen features of target and source images together."""

from dataclasses import dataclass

from graft.networks.network import Network
from graft.techniques.probe import Probing, remember_head


@dataclass(frozen=True)
class JointProbe(Probing):
    """Fit a linear head on the frozen features of the labelled target images and of the source's images.

    Minimises (1 - s) L_target + s L_source + strength / 2 |W|² over W, b. L is the mean of CE(W f(x) + b, y), for the
    source over its images of the target's classes. Cross-validation within the target's labels chooses the strength,
    and s among 0, 1/4, 1/2 and 3/4 (the baseline WEIGHTED of Daumé 2007, 'Frustratingly Easy Domain Adaptation', hard
    to beat there); with s = 0, it may also choose the source's head as the point towards which W is regularised
    (`linear_probe`). It fails where the same class has other features in the source, or no class is in both: then it is
    a linear probe.
    """

    @property
    def uses_source_data(self) -> bool:
        """Always: it is fitted to source images too."""
        return True

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a frozen backbone and a fresh head; its own head may be what the probe is near to."""
        remember_head(source)
        return super().adapt(source, classes)
