"""Base of the strategies that fit a head to the features of a frozen backbone, computed once, without steps."""

from dataclasses import dataclass
from typing import ClassVar

from graft.contract import Strategy
from graft.networks.heads import fresh_head
from graft.networks.network import Network


@dataclass(frozen=True)
class HeadOnly(Strategy):
    """A frozen backbone and a fresh head, which `begin` fits."""

    optimises: ClassVar[bool] = False

    @property
    def feature_views(self) -> int:
        """One: the images as they are."""
        return 1

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a frozen backbone and a fresh head."""
        source.requires_grad_(False)
        fresh_head(source, classes)
        return source
