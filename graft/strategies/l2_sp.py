"""Against forgetting and overfitting: a penalty pulls the weights towards the source's."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from annotated_types import Ge
from torch import Tensor, nn

from graft.contract import ParameterGroup, Step, Strategy
from graft.networks.heads import fresh_head
from graft.networks.network import Frozen, Network
from graft.settings import Searched
from graft.techniques.regularisers import half_square, half_squared_distance


@dataclass(frozen=True)
class L2Sp(Strategy):
    """Fine-tune with a penalty on the distance between the weights and the source's.

    Minimises L + alpha/2 ||w - w0||^2 + beta/2 ||v||^2 over the backbone's weights w, which start at the source's w0,
    and the head's v (Li, Grandvalet & Davoine 2018, 'Explicit inductive bias for transfer learning with convolutional
    networks', equation 3). Weight decay pulls towards zero, far from any useful weights; here the penalties replace it.
    Squares are summed, not averaged, so that the pull on one weight is the same in a small and in a large network. The
    authors use alpha 0.1 and beta 0.01, and leave out biases and norms (`over: kernels`). Their optimiser is SGD;
    AdamW, which the training loop uses, scales the sum of both gradients weight by weight. It fails when the source's
    weights are a bad starting point, and it constrains weights, not the function that they compute: a small change of
    an early weight can change every feature.
    """

    alpha: Annotated[float, Ge(0.0), Searched(0.0001, 0.1)] = 0.001
    """Strength of the penalty that pulls the backbone's weights towards the source's."""
    beta: Annotated[float, Ge(0.0)] = 0.001
    """L2 penalty on the head's weights."""
    over: Literal["all", "kernels"] = "all"
    """Penalise all weights, or as the authors do only kernels and matrices: no biases, and no scale and shift of
    norms."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head, and a copy of its backbone to compare with."""
        fresh_head(source, classes)
        source.extras["start"] = Frozen(deepcopy(source.backbone))
        return source

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """Backbone and head, without weight decay."""
        return [ParameterGroup([*network.backbone.parameters(), *network.head.parameters()], decay=0.0)]

    def loss(self, network: Network, step: Step) -> Tensor:
        """Cross-entropy and both penalties."""
        start = cast(nn.Module, network.extras["start"].module)
        backbone, origin, head = (self._pulled(module) for module in (network.backbone, start, network.head))
        penalty = self.alpha * half_squared_distance(backbone, origin) + self.beta * half_square(head)
        return super().loss(network, step) + penalty

    def _pulled(self, module: nn.Module) -> list[nn.Parameter]:
        return [weight for weight in module.parameters() if self.over == "all" or weight.ndim > 1]
