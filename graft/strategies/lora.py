"""Shared architecture: low-rank updates on top of frozen weights."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from graft.contract import Strategy
from graft.networks.heads import fresh_head
from graft.networks.low_rank import add_low_rank, merge_low_rank
from graft.networks.network import Network
from graft.networks.stages import NORMS, keep_frozen_statistics
from graft.settings import Searched


@dataclass(frozen=True)
class Lora(Strategy):
    """Freeze the source's weights and train a low-rank update of each, which is merged at the end.

    W + alpha / r B A with B (O, r), A (r, I) and r small, in linear, attention and convolution layers (a kernel is
    treated as a matrix of outputs x inputs); B starts at zero (Hu et al. 2021, 'LoRA: Low-Rank Adaptation of Large
    Language Models'). The network keeps its architecture and its inference cost. It fails when the target needs new
    features, as X-rays do with a network for photographs: these take more than a few directions.
    """

    rank: Annotated[int, Ge(1), Searched(1, 64)] = 16
    """Rank r of the updates; a higher rank allows larger changes, and overfits sooner."""
    alpha: Annotated[float, Gt(0.0)] = 8.0
    """Scale of the updates, which are multiplied by alpha / rank; it acts like their learning rate."""
    norms: Literal["frozen", "statistics", "trained"] = "trained"
    """Norm layers: `frozen`; `statistics`: batch-norm statistics follow the target; `trained`: scale and shift are
    trained as well."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with an update in every layer of its backbone, and a fresh head."""
        add_low_rank(source.backbone, self.rank, self.alpha)
        if self.norms == "trained":
            for module in source.backbone.modules():
                if isinstance(module, NORMS):
                    module.requires_grad_(True)
        fresh_head(source, classes)
        return source

    def train_mode(self, network: Network) -> None:
        """Training mode; frozen norms keep the source's statistics."""
        network.train()
        if self.norms == "frozen":
            keep_frozen_statistics(network.backbone)

    def finish(self, network: Network) -> Network:
        """The network with every update merged into its weight."""
        merge_low_rank(network.backbone)
        return super().finish(network)
