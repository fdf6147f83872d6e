"""EfficientNet-Lite0, the body that runs everywhere: no squeeze-and-excitation, ReLU6 for swish.

Mingxing Tan & Quoc Le 2019, 'EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks', table 1, in the
Lite variant of the TensorFlow model garden: a stem of 32 and a head of 1280 channels at every size, TensorFlow's 'SAME'
padding. Dropout and stochastic depth, which pretraining used, are left out: transfer has regularisers of its own.

Legend: B batch, H W height and width.
"""

import math
from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 1280
IMAGE_SIZE = 224
MEAN = (127 / 255,) * 3
"""Mean and standard deviation that the published weights want of the input in [0, 1]: (x - 127) / 128 of bytes."""
STD = (128 / 255,) * 3

_STEM = 32
_STAGES = (
    # blocks, kernel, stride of the first block, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet_lite0() -> nn.Sequential:
    """A fresh body (B, 3, H, W) -> (B, 1280)."""
    blocks: list[nn.Module] = []
    channels = _STEM
    for repeats, kernel, stride, expansion, width in _STAGES:
        for number in range(repeats):
            blocks.append(InvertedBottleneck(channels, width, kernel, stride if number == 0 else 1, expansion))
            channels = width
    body = nn.Sequential(
        OrderedDict(
            stem=ConvNorm(3, _STEM, 3, stride=2),
            blocks=nn.Sequential(*blocks),
            top=ConvNorm(channels, FEATURES, 1),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
        )
    )
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            # He's, counted by group: torch's own takes a depthwise kernel for one that feeds all channels, so that
            # batch norm's epsilon swallows what it makes and an untrained body says next to nothing.
            fan_out = module.out_channels * module.kernel_size[0] ** 2 // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    return body


class ConvNorm(nn.Sequential):
    """A convolution with 'SAME' padding, its batch norm and, unless told otherwise, ReLU6."""

    def __init__(
        self, before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if stride > 1:
            parts["pad"] = SamePadding(kernel, stride)
        inside = kernel // 2 if stride == 1 else 0  # at stride 1 'SAME' is the same on all sides
        parts["conv"] = nn.Conv2d(before, after, kernel, stride, inside, groups=groups, bias=False)
        parts["norm"] = nn.BatchNorm2d(after, eps=1e-3)  # its training had momentum 0.01: too slow for a short one
        if active:
            parts["act"] = nn.ReLU6(inplace=True)
        super().__init__(parts)


class InvertedBottleneck(nn.Module):
    """Widen, convolve each channel alone, narrow; the input is added where its shape is kept (MBConv)."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = before * expansion
        self.expand = ConvNorm(before, middle, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(middle, middle, kernel, stride=stride, groups=middle)
        self.project = ConvNorm(middle, after, 1, active=False)
        self.is_residual = stride == 1 and before == after

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, H / stride, W / stride), rounded up."""
        found: Tensor = self.project(self.depthwise(self.expand(pictures)))
        return pictures + found if self.is_residual else found


class SamePadding(nn.Module):
    """TensorFlow's padding before a strided convolution: where it is odd, the right and the lower side get more."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, pictures: Tensor) -> Tensor:
        """Zeros around, so that the convolution gives ceil(size / stride) places."""
        height, width = (self._missing(size) for size in pictures.shape[-2:])
        return F.pad(pictures, (width // 2, width - width // 2, height // 2, height - height // 2))

    def _missing(self, size: int) -> int:
        places = -(-size // self.stride)
        return max((places - 1) * self.stride + self.kernel - size, 0)


def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published ImageNet checkpoint under our names, the head for its 1,000 classes included.

    Fits `Network(Description("efficientnet_lite0", classes, ..., mean=MEAN, std=STD))`. Only names change.

    Raises:
        ValueError: a name that such a checkpoint does not have.
    """
    return {_our_name(name): value for name, value in state.items()}


_BODY = {"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "top.conv", "_bn1": "top.norm"}
_BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}


def _our_name(name: str) -> str:
    """`_blocks.3._bn1.weight` -> `backbone.blocks.3.depthwise.norm.weight`."""
    match name.split("."):
        case ["_fc", attribute]:
            return f"head.{attribute}"
        case ["_blocks", number, layer, attribute] if layer in _BLOCK:
            return f"backbone.blocks.{number}.{_BLOCK[layer]}.{attribute}"
        case [layer, attribute] if layer in _BODY:
            return f"backbone.{_BODY[layer]}.{attribute}"
    raise ValueError(f"{name!r} is no name in a published EfficientNet-Lite0 checkpoint")
