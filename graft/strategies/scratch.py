"""Control: no transfer."""

from dataclasses import dataclass

from graft.contract import Strategy
from graft.networks.network import Network


@dataclass(frozen=True)
class Scratch(Strategy):
    """Train the same architecture on the target's labels alone, from random weights.

    Minimises L_target(theta), the mean cross-entropy, from a random theta_0 instead of the source's. The
    baseline that every gain is measured against: transfer is *positive* only if it beats this at an equal budget (Pan &
    Yang 2010, 'A Survey on Transfer Learning', section 2.3). It fails where labels are few; it wins where the source
    has nothing to say about the target.
    """

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """A new network; of the source only the architecture and the input's description are kept."""
        return Network(source.description.with_classes(classes))
