"""Control: no transfer."""

from dataclasses import dataclass

from graft.contract import Strategy
from graft.networks.network import Network


@dataclass(frozen=True)
class Scratch(Strategy):
    """Train the same architecture on the target's labels only, from random weights.

    Minimises L_target(theta), the mean cross-entropy, from a random theta_0 instead of the source's. The baseline for
    every transfer gain: transfer is *positive* only if it beats this at an equal budget (Pan & Yang 2010, 'A Survey on
    Transfer Learning', section 2.3). It fails where labels are few; it wins where the source is unrelated to the
    target.
    """

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """A new network; only the architecture and the input of the source are kept."""
        return Network(source.description.with_classes(classes))
