"""Control: the source network as it is."""

from dataclasses import dataclass
from typing import ClassVar

from graft.contract import Strategy
from graft.networks.heads import matched_head, require_known_classes
from graft.networks.network import Network


@dataclass(frozen=True)
class SourceOnly(Strategy):
    """Apply the source network to the target without any training ('zero-shot').

    argmax over the target's classes y of p_source(y | x); they are matched to the source's by name. The other
    baseline: a strategy that adapts and falls below this has forgotten something. It fails to the extent that the
    domains differ (Ben-David et al. 2010, 'A theory of learning from different domains').
    """

    uses_labels: ClassVar[bool] = False
    optimises: ClassVar[bool] = False

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network, with the rows of its head in the order of the target's classes."""
        require_known_classes(source, classes, f"{self.name} predicts with the source's head")
        matched_head(source, classes)
        return source
