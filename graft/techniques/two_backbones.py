"""Base of the strategies with two backbones: the source's, and one for the target, joined under a fresh head."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, cast

from annotated_types import Gt

from graft.contract import ParameterGroup, Strategy
from graft.networks.composite import Concat, Fusion
from graft.networks.network import Network


@dataclass(frozen=True)
class TwoBackbones(Strategy):
    """The target's backbone at the base rate, the source's at a lower one or frozen, the head at a higher one."""

    joined_by: ClassVar[str]
    """The name of the module that joins them, in the names of backbones."""

    tune_source: bool = True
    """Train the source's backbone too; frozen, it takes a third less time and keeps its features."""
    source_rate: Annotated[float, Gt(0.0)] = 0.3
    """Learning rate of the source's backbone, relative to the target backbone's."""
    head_rate: Annotated[float, Gt(0.0)] = 3.0
    """Learning rate of the head, relative to the target backbone's: features of unit scale need larger weights."""
    target_backbone: str = "same"
    """Name of the target's backbone; `same` is the source's architecture."""
    target_start: Literal["random", "source"] = "random"
    """Start the target's backbone from random weights, or as a copy of the source's, which has to be the same: for
    large backbones and few labels, from which no features can be learned anew."""

    def start(self, joined: Concat | Fusion) -> None:
        """Set what joins the backbones as the strategy wants it at the first step."""
        raise NotImplementedError

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """Both backbones, joined, under a fresh head."""
        own = source.description.backbone
        name = f"{self.joined_by}({own}, {own if self.target_backbone == 'same' else self.target_backbone})"
        network = Network(replace(source.description.with_classes(classes), backbone=name))
        joined = _joined(network)
        if self.target_start == "source":
            if self.target_backbone not in ("same", own):
                raise ValueError(
                    f"target_start: source needs the source's backbone {own!r}, not {self.target_backbone!r}; "
                    "use target_backbone: same, or target_start: random"
                )
            joined.target.load_state_dict(source.backbone.state_dict())
        joined.source = source.backbone.requires_grad_(self.tune_source)
        self.start(joined)
        return network

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The head; all that is new in the body; and, if it is tuned, the source's backbone."""
        joined = _joined(network)
        source = list(joined.source.parameters())
        known = {id(parameter) for parameter in source}
        groups = [
            ParameterGroup(list(network.head.parameters()), self.head_rate),
            ParameterGroup([parameter for parameter in joined.parameters() if id(parameter) not in known]),
        ]
        return [*groups, ParameterGroup(source, self.source_rate)] if self.tune_source else groups

    def train_mode(self, network: Network) -> None:
        """A frozen backbone stays in evaluation mode: batch norm keeps the source's statistics."""
        network.train()
        _joined(network).source.train(self.tune_source)


def _joined(network: Network) -> Concat | Fusion:
    return cast(Concat | Fusion, network.backbone)
