"""A network (a backbone, a head, and modules that only training needs) and the description that rebuilds it.

Legend: B batch, C channels, H W height and width, L tokens of a text, D features, K classes.
"""

import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from graft.data.inputs import Input, Pictures, Text
from graft.data.on_disk import Images
from graft.networks.backbones import build_backbone

_MOST_VALUES = 2**23
"""Most input values per forward pass; the activations of a backbone take some fifty times their memory."""
_MOST_ON_CPU = 2**20
"""The same on a CPU, where the outputs of a layer should still be in the cache when the next one reads them: at 224 px,
backbones for photos then take a third to a half of the time."""


@dataclass(frozen=True)
class Description:
    """Everything that is needed to rebuild a network from its weights; saved next to them as JSON.

    Input size, channels and normalisation belong to the weights, not to the pipeline: a network loses many points of
    accuracy with another normalisation than the one it was trained with.
    """

    backbone: str
    """A name that `graft.networks.backbones` knows."""
    classes: tuple[str, ...]
    """Names of the classes of the head, in the order of its outputs; empty for weights without a head."""
    channels: int = 0
    """1 for grey images, 3 for colour, 0 for texts."""
    image_size: int = 0
    """Height and width of the input in pixels; 0 for texts."""
    mean: tuple[float, ...] = (0.5,)
    """Mean per channel (or one for all) of the input in [0, 1]."""
    std: tuple[float, ...] = (0.5,)
    """Standard deviation per channel (or one for all) of the input in [0, 1]."""
    vocabulary: int = 0
    """For a network that reads texts: number of tokens in its vocabulary; 0 for images."""
    length: int = 0
    """For a network that reads texts: the most tokens per text; 0 for images."""
    temperature: float | None = None
    """Logits divided by this give calibrated probabilities, fitted on images held out of training
    (`graft.techniques.calibration`); None if not calibrated."""

    @property
    def reads(self) -> Input:
        """The input of the network."""
        return Text(self.vocabulary, self.length) if self.vocabulary else Pictures(self.channels, self.image_size)

    @property
    def body_reads(self) -> Input:
        """The input of its backbone: weights for colour, which have one mean per channel, see a grey image in all of
        them."""
        read = self.reads
        return replace(read, channels=max(read.channels, len(self.mean))) if isinstance(read, Pictures) else read

    def reading(self, read: Input) -> "Description":
        """The same description with another input."""
        if isinstance(read, Text):
            return replace(self, channels=0, image_size=0, vocabulary=read.vocabulary, length=read.length)
        return replace(self, channels=read.channels, image_size=read.size, vocabulary=0, length=0)

    def with_classes(self, classes: tuple[str, ...]) -> "Description":
        """The same backbone with another head, not calibrated."""
        return replace(self, classes=classes, temperature=None)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Description":
        """The inverse of `to_dict`."""
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)


class Network(nn.Module):
    """Normalisation, backbone and head; strategies may change all of them.

    `extras` holds modules that only training needs, by name: a second head, a discriminator, a teacher. They move to
    the network's device and may be trained, but they are not part of the network: never kept, never saved.

    The input is images (B, C, H, W), float in [0, 1] or uint8; texts (B, L), integers; or cached features (B, D),
    float.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, description: Description) -> None:
        super().__init__()
        self.description = description
        self.backbone, self.feature_size = build_backbone(description.backbone, description.body_reads)
        with warnings.catch_warnings():  # without a head there is nothing to initialise
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            self.head = nn.Linear(self.feature_size, len(description.classes))
        self.extras = nn.ModuleDict()
        for name in ("mean", "std"):
            values = torch.tensor(getattr(description, name), dtype=torch.float32)
            self.register_buffer(name, values.view(1, -1, 1, 1), persistent=False)

    def set_head(self, head: nn.Linear, classes: tuple[str, ...]) -> None:
        """Replace the head by one (D -> K) for `classes`, and update the description."""
        self.head = head.to(self.head.weight.device)
        self.description = self.description.with_classes(classes)

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) or (B, L) -> (B, D): the input of the head. Features (B, D) pass unchanged."""
        if images.ndim == 2:
            return images if images.is_floating_point() else cast(Tensor, self.backbone(images))
        return cast(Tensor, self.backbone((as_read(images) - self.mean) / self.std))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) or (B, L) -> (B, K) logits."""
        return cast(Tensor, self.head(self.features(images)))

    def example(self, batch: int = 1) -> Tensor:
        """An example batch of the network's input: black images, uint8, or texts of the first token."""
        read = self.description.reads
        shape = (batch, read.length) if isinstance(read, Text) else (batch, read.channels, read.size, read.size)
        kind = torch.long if isinstance(read, Text) else torch.uint8
        return torch.full(shape, int(kind == torch.long), dtype=kind, device=self.mean.device)

    def extra(self, name: str) -> nn.Module | None:
        """The extra of that name, if there is one."""
        return self.extras[name] if name in self.extras else None  # noqa: SIM401  (a ModuleDict has no `get`)

    def own_state(self) -> dict[str, Tensor]:
        """Weights and buffers of the network itself, without those of `extras`."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("extras.")}


class Frozen(nn.Module):
    """Holds a module that never changes: no gradients, and always in evaluation mode."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Frozen":
        """Stays in evaluation mode."""
        del mode
        return super().train(False)

    def forward(self, *inputs: Tensor) -> Any:
        """The output of the module."""
        return self.module(*inputs)


def as_read(batch: Tensor) -> Tensor:
    """Images (B, C, H, W) uint8 as floats in [0, 1]; any other input unchanged."""
    return batch.float() / 255 if batch.dtype == torch.uint8 else batch


def channels_last(images: Tensor) -> Tensor:
    """Images (B, C, H, W) in channels-last memory format, the fastest for convolutions."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


def at_a_time(images: Images, device: torch.device | None = None) -> int:
    """Batch size for a forward pass over images (N, C, H, W) or texts (N, L): smaller for larger inputs, which bounds
    memory; with `device`, a fast size for that device."""
    most = _MOST_ON_CPU if device is not None and device.type == "cpu" else _MOST_VALUES
    return max(1, min(512, most // max(1, images.shape[1:].numel())))


@torch.no_grad()
def predict(network: Network, images: Images, batch_size: int | None = None) -> tuple[Tensor, Tensor]:
    """Probabilities (N, K) and features (N, D) of images (N, C, H, W), in evaluation mode, on the CPU.

    `images` may also be cached features (N, D).
    """
    network.eval().to(memory_format=torch.channels_last)
    device = next(network.parameters()).device
    probabilities, features = [], []
    for batch in images.split(batch_size or at_a_time(images, device)):
        found = network.features(channels_last(batch.to(device))).float()
        features.append(found.cpu())
        probabilities.append(network.head(found).softmax(dim=1).cpu())
    return torch.cat(probabilities), torch.cat(features)
