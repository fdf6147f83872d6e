"""Against forgetting and overfitting: batch norm that randomly uses the moving statistics."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from graft.contract import Strategy
from graft.networks.heads import fresh_head
from graft.networks.network import Network
from graft.settings import Fraction, Searched


@dataclass(frozen=True)
class StochNorm(Strategy):
    """Fine-tune with batch norm that randomly picks, per channel, batch or moving statistics to normalise with.

    A channel x becomes gamma z + beta; z is (x - mu_B) / sigma_B with the batch's statistics with probability p, and
    (x - mu) / sigma with the moving ones otherwise, which start at the source's (Kou, You, Long & Wang 2020,
    'Stochastic Normalization'). p is the authors' p: 1 is batch norm, 0 uses the moving statistics only. The network
    can rely neither on the noisy statistics of small batches nor on the source's statistics, so it overfits less. In
    evaluation it is batch norm, and the finished network holds plain batch norm. It fails where the domains' statistics
    differ so much that the moving ones are wrong for long, and it needs a backbone with batch norm.
    """

    moves_batch_norm: ClassVar[bool] = True

    p: Annotated[Fraction, Searched(0.3, 1.0)] = 0.8
    """Probability that a channel is normalised with its batch's statistics, not with the moving ones. The paper uses
    0.5; values closer to 1 are better where the target's images look different."""

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The source network with a fresh head and stochastic norms in place of batch norms."""
        layers = {
            name: module
            for name, module in source.backbone.named_modules()
            if isinstance(module, _BatchNorm) and module.track_running_stats
        }
        if not layers:
            raise ValueError(
                f"stoch_norm replaces batch norm with moving statistics, "
                f"but the backbone {source.description.backbone} has none"
            )
        for name, layer in layers.items():
            source.backbone.set_submodule(name, StochasticNorm(layer, self.p))
        fresh_head(source, classes)
        return source

    def finish(self, network: Network) -> Network:
        """The network with plain batch norm again, which keeps its trained weights."""
        for name, module in list(network.backbone.named_modules()):
            if isinstance(module, StochasticNorm):
                network.backbone.set_submodule(name, module.norm)
        return super().finish(network)


class StochasticNorm(nn.Module):
    """Wraps a batch norm, `norm`, and normalises each channel with batch or with moving statistics."""

    def __init__(self, norm: _BatchNorm, p: float) -> None:
        super().__init__()
        self.norm, self.p = norm, p

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, ...) -> (B, C, ...)."""
        if not self.training:
            return cast(Tensor, self.norm(maps))
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        # Clones: the batch branch updates the statistics in place, and the gradient needs the old ones.
        mean, variance = norm.running_mean.clone(), norm.running_var.clone()
        by_moving = F.batch_norm(maps, mean, variance, norm.weight, norm.bias, eps=norm.eps)
        by_batch = norm(maps)
        of_batch = torch.rand(norm.num_features, device=maps.device) < self.p
        return torch.where(of_batch.view(-1, *[1] * (maps.ndim - 2)), by_batch, by_moving)
