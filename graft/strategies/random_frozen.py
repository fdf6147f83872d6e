"""Control: a linear probe on a random frozen body."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from graft.networks.network import Network
from graft.settings import Searched
from graft.techniques.probe import Probing


@dataclass(frozen=True)
class RandomFrozen(Probing):
    """Fit the linear probe on a body of the same architecture that never saw the source.

    Minimises L_target(W phi_0(x) + b) over W and b; phi_0 is random. What `linear_probe` gains over this is due to the
    source's features, the rest to the probe and the architecture (Rahimi & Recht 2007, 'Random Features for Large-Scale
    Kernel Machines'; Saxe et al. 2011, 'On Random Weights and Unsupervised Feature Learning'). The body has seen no
    image: batch norm too stays as it is initialised, at mean 0 and variance 1. It fails wherever features have to be
    learned.
    """

    views: Annotated[int, Ge(1), Searched(1, 16)] = 1
    """How many views of each training image pass the body: 1 is the image as it is, more add augmented ones."""

    @property
    def feature_views(self) -> int:
        """As many as the knob says."""
        return self.views

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """A new network, its body frozen; of the source only the architecture and the input's description are kept."""
        network = Network(source.description.with_classes(classes))
        network.backbone.requires_grad_(False)
        return network
