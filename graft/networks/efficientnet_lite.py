"""EfficientNet-Lite0, a backbone for any hardware: no squeeze-and-excitation, ReLU6 instead of swish.

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
"""With `STD`: the normalisation of the published weights for input in [0, 1]; for bytes it is (x - 127) / 128."""
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
    """A freshly initialised backbone (B, 3, H, W) -> (B, 1280)."""
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
            # He initialisation with the fan-out per group: torch's own treats a depthwise kernel as if it fed all
            # channels; its outputs then vanish in batch norm's epsilon, and an untrained backbone carries no signal.
            fan_out = module.out_channels * module.kernel_size[0] ** 2 // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    return body


class ConvNorm(nn.Sequential):
    """A convolution with 'SAME' padding, batch norm and, by default, ReLU6."""

    def __init__(
        self, before: int, after: int, kernel: int, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if stride > 1:
            parts["pad"] = SamePadding(kernel, stride)
        inside = kernel // 2 if stride == 1 else 0  # at stride 1, 'SAME' pads all sides equally
        parts["conv"] = nn.Conv2d(before, after, kernel, stride, inside, groups=groups, bias=False)
        parts["norm"] = nn.BatchNorm2d(after, eps=1e-3)  # published with momentum 0.01: too slow for short training
        if active:
            parts["act"] = nn.ReLU6(inplace=True)
        super().__init__(parts)


class InvertedBottleneck(nn.Module):
    """Expand, depthwise convolution, project; a residual connection where the shape stays the same (MBConv)."""

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
    """TensorFlow's padding before a strided convolution: an odd padding puts more on the right and the bottom."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, pictures: Tensor) -> Tensor:
        """Pad with zeros, so that the convolution returns ceil(size / stride) positions."""
        height, width = (self._missing(size) for size in pictures.shape[-2:])
        return F.pad(pictures, (width // 2, width - width // 2, height // 2, height - height // 2))

    def _missing(self, size: int) -> int:
        places = -(-size // self.stride)
        return max((places - 1) * self.stride + self.kernel - size, 0)


def from_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published ImageNet checkpoint under our names, including the head for its 1,000 classes.

    Fits `Network(Description("efficientnet_lite0", classes, ..., mean=MEAN, std=STD))`. Only names change.

    Raises:
        ValueError: the checkpoint has a name that the published one does not have.
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
    raise ValueError(f"{name!r} is not a name in the published EfficientNet-Lite0 checkpoint")
