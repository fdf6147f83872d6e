"""A packed split in the form that a given network takes: images in its size and channels, texts by its tokenizer.

Legend: N images, C channels, H W height and width.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from graft.data.on_disk import in_memory
from graft.data.split import Split
from graft.networks.network import Description
from tasks.artifacts.splits import load_split
from tasks.artifacts.tokens import tokens

_GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601), as in Pillow."""


@dataclass(frozen=True)
class Packed:
    """A packed split and its folder."""

    folder: Path
    split: Split

    @classmethod
    def load(cls, folder: Path) -> "Packed":
        """The split in `folder`.

        Raises:
            GraftError: it cannot be read.
        """
        return cls(folder, load_split(folder))

    def read_by(self, description: Description, tokenizer: Path, places: Tensor) -> Tensor:
        """The items at `places` (M,), in the form that a network takes: images in its size, texts by its tokenizer.

        Raises:
            ValueError: the network reads images and these are texts, or the reverse.
        """
        if bool(description.vocabulary) != bool(self.split.vocabulary):
            raise ValueError(f"the network reads {description.reads}, not {self.split.reads}")
        if not description.vocabulary:
            return fit_pictures(self.split.images[places], description)
        return in_memory(tokens(description, tokenizer, self.split, self.folder, places))


def fit_pictures(images: Tensor, description: Description) -> Tensor:
    """Images (N, C, H, W) uint8 with the channels and the size that a network takes, as `prepare` would pack them."""
    if images.shape[1] > description.channels:
        grey = (images * torch.tensor(_GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        images = grey.round().to(torch.uint8)
    size = (description.image_size, description.image_size)
    if tuple(images.shape[2:]) != size:
        resized = interpolate(images.float(), size, mode="bicubic", antialias=True)
        images = resized.round().clamp(0, 255).to(torch.uint8)
    return images.expand(-1, description.channels, -1, -1)
