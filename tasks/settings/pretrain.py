"""Section `pretrain` of `params.yaml`: how the project's own source model is made."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Gt, Lt

from graft.settings import Count, Seed, Training

NONE = "none"
"""In place of weights: the backbone is trained from scratch on the source."""
MINILM, WORDLLAMA, FOLDER = "minilm", "wordllama", "hf:"
"""Encoders of texts: those that packages carry, and the prefix of one in a folder."""


def reads_texts(weights: str) -> bool:
    """Whether given weights are of an encoder of texts, by their name."""
    return weights in (MINILM, WORDLLAMA) or weights.startswith(FOLDER)


@dataclass(frozen=True)
class PretrainSettings:
    """How the backbone is trained on the source domain, and the weights that it starts from."""

    backbone: str = "convnet_small"
    """A name known to `graft.networks.backbones`: `convnet_tiny`, `convnet_small`, `torchvision:NAME`, `timm:NAME`.
    Given weights bring their own backbone, and this one is then not used."""
    weights: str = NONE
    """The weights to start from: `none`, `torchvision:ResNet18_Weights.IMAGENET1K_V1`, `timm:NAME`, a file or folder
    in weights/, or `models:/NAME@ALIAS` of the registry; for texts `minilm`, `wordllama`, or `hf:FOLDER`, a BERT in a
    folder of weights/."""
    weights_sha256: str = ""
    """If set, weights with another hash are refused; the stage `weights` prints the hash."""
    learn: Literal["all", "head", "nothing"] = "all"
    """Which part of given weights is trained on the source: all of them and a head for the source's classes; only that
    head, on the frozen body; or nothing, so that weights and classes stay unchanged."""
    seed: Seed = 0
    """Seed of the initial weights, the held-out examples, and the order and augmentation of the others."""
    validation_fraction: Annotated[float, Gt(0.0), Lt(1.0)] = 0.1
    """Share of each source class that is held out for validation, which selects the weights."""
    threads: Count = 1
    """CPU threads of the stage; another number changes the last bits of the weights."""
    training: Training = field(default_factory=Training)
