"""Section `pretrain` of `params.yaml`."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Gt, Lt

from graft.settings import Count, Seed, Training


@dataclass(frozen=True)
class PretrainSettings:
    """How the backbone learns the source domain."""

    backbone: str = "convnet_small"
    """A name that `graft.backbones` knows: `convnet_tiny`, `convnet_small`, `torchvision:NAME`."""
    seed: Seed = 0
    """Of the initial weights, the held-out pictures, and the order and augmentation of the others."""
    validation_fraction: Annotated[float, Gt(0.0), Lt(1.0)] = 0.1
    """Share of each source class that is held out to choose the weights by."""
    threads: Count = 1
    """CPU threads of a stage; with another number the last bits of the weights differ."""
    training: Training = field(default_factory=Training)
