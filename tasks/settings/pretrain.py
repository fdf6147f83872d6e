"""Section `pretrain` of `params.yaml`."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Gt, Lt

from graft.settings import Count, Seed, Training

NONE = "none"
"""Instead of weights: the backbone learns from the source alone."""


@dataclass(frozen=True)
class PretrainSettings:
    """How the backbone learns the source domain, or where its weights come from."""

    backbone: str = "convnet_small"
    """A name that `graft.networks.backbones` knows: `convnet_tiny`, `convnet_small`, `torchvision:NAME`, `timm:NAME`.
    Given weights bring their own, and this one is then not used."""
    weights: str = NONE
    """What to begin with: `none`, `torchvision:ResNet18_Weights.IMAGENET1K_V1`, `timm:NAME`, a file or folder in
    weights/, or `models:/NAME@ALIAS` of the registry."""
    weights_sha256: str = ""
    """If given, other weights than those with this hash are refused; the stage `weights` prints it."""
    learn: Literal["all", "head", "nothing"] = "all"
    """What the source's examples teach given weights: all of them and a head for the source's classes; that head alone,
    on the frozen body; or nothing, so that weights and classes are what they were."""
    seed: Seed = 0
    """Of the initial weights, the held-out examples, and the order and augmentation of the others."""
    validation_fraction: Annotated[float, Gt(0.0), Lt(1.0)] = 0.1
    """Share of each source class that is held out to choose the weights by."""
    threads: Count = 1
    """CPU threads of a stage; with another number the last bits of the weights differ."""
    training: Training = field(default_factory=Training)
