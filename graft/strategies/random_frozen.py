"""Control: a linear probe on a random frozen backbone."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from graft.networks.network import Network
from graft.settings import Searched
from graft.techniques.probe import Probing


@dataclass(frozen=True)
class RandomFrozen(Probing):
    """Fit the linear probe on a random backbone of the same architecture, without the source.

    Minimises L_target(W phi_0(x) + b) over W and b; phi_0 is random. The gain of `linear_probe` over this is due to the
    source's features, the rest to the probe and the architecture (Rahimi & Recht 2007, 'Random Features for Large-Scale
    Kernel Machines'; Saxe et al. 2011, 'On Random Weights and Unsupervised Feature Learning'). The backbone is not
    trained on any image: batch norm also keeps its initial mean 0 and variance 1. It fails wherever features have to be
    learned.
    """

    views: Annotated[int, Ge(1), Searched(1, 16)] = 1
    """How many views of each training image pass through the backbone: 1 is the image as it is, more add augmented
    ones."""

    @property
    def feature_views(self) -> int:
        """The knob `views`."""
        return self.views

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """A new network with a frozen backbone; only the architecture and the input of the source are kept."""
        network = Network(source.description.with_classes(classes))
        network.backbone.requires_grad_(False)
        return network
