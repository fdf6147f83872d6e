"""Backbones by name: small ones of our own for 8-64 px images and for texts, EfficientNet-Lite0, and the classifiers of
torchvision and timm.

`concat(NAME, NAME)` and `fusion(NAME, NAME)` join two backbones into one, the source's first; either may be such a
composition itself. So a composed network is described, saved and rebuilt like any other.

Legend: B batch, C channels, H W height and width, D features.
"""

from collections.abc import Callable

from torch import nn

from graft.data.inputs import Input, Pictures, Text
from graft.networks.composite import Concat, Fusion
from graft.networks.efficientnet_lite import FEATURES, efficientnet_lite0
from graft.networks.foreign_bodies import TIMM, TORCHVISION, from_timm, from_torchvision, takes_grey
from graft.networks.text_bodies import TextBag, TextConvnet
from graft.networks.texts.encoders import BERT, WORD_VECTORS, Bert, WordVectors, bert_body, word_vectors_body
from graft.networks.texts.ngrams import NGRAMS, Ngrams, ngrams_body
from graft.networks.transformer import Transformer

SMALL = {"convnet_tiny": (16, 32), "convnet_small": (32, 64, 128)}
"""Width per stage of our own convolutional backbones; every stage halves height and width."""

TRANSFORMERS = {"transformer_tiny": (64, 4, 4), "transformer_small": (128, 6, 4)}
"""Width, blocks and heads of our transformers, which read images (a ViT) or texts."""

TEXT_BODIES: dict[str, type[TextBag | TextConvnet]] = {"text_bag": TextBag, "text_convnet": TextConvnet}
"""Backbones for texts only."""

MADE_FOR_TEXTS: dict[str, Callable[[Text, str], Ngrams | Bert | WordVectors]] = {
    NGRAMS: ngrams_body,
    BERT: bert_body,
    WORD_VECTORS: word_vectors_body,
}
"""Backbones for texts that strategies and given weights bring, by the prefix of their names: `ngrams:2`."""

EFFICIENTNET_LITE0 = "efficientnet_lite0"

COMPOSITIONS = ("concat", "fusion")
"""The ways to join two backbones: `graft.networks.composite`."""

_VALID = (
    f"{', '.join([*SMALL, *TRANSFORMERS, *TEXT_BODIES])}, {EFFICIENTNET_LITE0}, "
    f"{TORCHVISION}NAME such as {TORCHVISION}resnet18, {TIMM}NAME such as {TIMM}resnet18, "
    f"or two of them as {' or '.join(f'{kind}(NAME, NAME)' for kind in COMPOSITIONS)}"
)


def build_backbone(name: str, read: Input) -> tuple[nn.Module, int]:
    """A freshly initialised backbone for the input `read`, (B, C, H, W) or (B, T) -> (B, D), and D.

    Raises:
        ValueError: no backbone has that name (lists the valid or similar names), or it cannot read this input.
    """
    if "(" in name:
        return _composed(*parse_composition(name), read)
    if name in TRANSFORMERS:
        width, depth, heads = TRANSFORMERS[name]
        return Transformer(read, width, depth, heads), width
    kind, colon, rest = name.partition(":")
    if name in TEXT_BODIES or kind + colon in MADE_FOR_TEXTS:
        if isinstance(read, Pictures):
            raise ValueError(f"backbone {name!r} reads texts, not images; valid: {_VALID}")
        text_body = MADE_FOR_TEXTS[kind + colon](read, rest) if colon else TEXT_BODIES[name](read)
        return text_body, text_body.feature_size
    if not isinstance(read, Pictures):
        raise ValueError(f"backbone {name!r} cannot read texts; valid: {', '.join([*TEXT_BODIES, *TRANSFORMERS])}")
    if name in SMALL:
        return _small(read.channels, SMALL[name])
    body, features = _for_colour(name, read.size)
    return takes_grey(body) if read.channels == 1 else body, features


def _for_colour(name: str, size: int) -> tuple[nn.Module, int]:
    if name == EFFICIENTNET_LITE0:
        return efficientnet_lite0(), FEATURES
    if name.startswith(TORCHVISION):
        return from_torchvision(name.removeprefix(TORCHVISION), size)
    if name.startswith(TIMM):
        return from_timm(name.removeprefix(TIMM), size)
    raise ValueError(f"unknown backbone {name!r}; valid: {_VALID}")


def parse_composition(name: str) -> tuple[str, str, str]:
    """`concat(A, B)` -> ("concat", "A", "B"); A and B are names, which may be compositions themselves.

    Raises:
        ValueError: the name is not a valid composition; the message says why.
    """

    def wrong(what: str) -> ValueError:
        return ValueError(f"backbone {name!r}: {what}; valid: {_VALID}")

    kind, _, inside = name.strip().partition("(")
    if kind not in COMPOSITIONS:
        raise wrong(f"{kind!r} does not join backbones")
    if not inside.endswith(")"):
        raise wrong("it does not end with ')'")
    parts, depth = [""], 0
    for character in inside[:-1]:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            raise wrong("a ')' has no '('")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth > 0:
        raise wrong("a '(' has no ')'")
    names = [part.strip() for part in parts]
    if len(names) != 2 or not all(names):
        raise wrong(f"it joins two backbones, not {len([part for part in names if part])}")
    return kind, names[0], names[1]


def _composed(kind: str, source_name: str, target_name: str, read: Input) -> tuple[nn.Module, int]:
    """Both backbones, freshly initialised and joined."""
    source, source_size = build_backbone(source_name, read)
    target, target_size = build_backbone(target_name, read)
    if kind == "concat":
        return Concat(source, target), source_size + target_size
    return Fusion(source, source_size, target, target_size), source_size


def _small(channels: int, widths: tuple[int, ...]) -> tuple[nn.Module, int]:
    """A 3x3 convolution, max pooling, batch norm and ReLU per width; then global average pooling.

    Pooling comes before the norm, which then works on a quarter of the positions: 1.4 times the images per second.
    """
    stages: list[nn.Module] = []
    for before, after in zip((channels, *widths), widths, strict=False):
        stages.append(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.MaxPool2d(2),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            )
        )
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten()), widths[-1]
