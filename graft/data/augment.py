"""Augmentation of a whole batch at once, on the batch's device.

Legend: B batch, C channels, H W height and width, L tokens.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from graft.data.inputs import PADDING
from graft.settings import Augmentation

_OPERATIONS = ("rotate", "shear", "right", "down", "brightness", "contrast", "saturation")
"""Of the random policy."""


def augment(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Augment images (B, C, H, W), float in [0, 1], or texts (B, L), integers, each independently.

    Random numbers come from `generator`, on the CPU, so that every device sees the same augmentation.
    """
    if images.ndim == 2:
        return _drop(images, how.drop, generator) if how.drop else images
    if how.morphology:
        images = _morphology(images, how.morphology, generator)
    policy = _policy(len(images), how.policy, generator)
    if how.flip or how.rotate or how.scale or how.shear or how.area < 1 or how.policy:
        images = _affine(images, how, policy, generator)
    elif how.crop:
        images = _shift(images, how.crop, generator)
    return _colour(images, how.colour, policy, generator) if how.colour or how.policy else images


def _drop(tokens: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Replace dropped tokens by padding, which networks ignore (word dropout; Iyyer et al. 2015)."""
    draw = torch.rand(tokens.shape, generator=generator).to(tokens.device)
    return tokens.masked_fill(draw < probability, PADDING)


def _uniform(size: int, limit: float, generator: torch.Generator) -> Tensor:
    """(B,) uniform in [-limit, limit]."""
    return (torch.rand(size, generator=generator) * 2 - 1) * limit


def _policy(size: int, strength: float, generator: torch.Generator) -> dict[str, Tensor]:
    """By how much the policy changes each image, (B,) in [-strength, strength] per operation; 0 for all but two."""
    if not strength:
        return dict.fromkeys(_OPERATIONS, torch.zeros(size))
    chosen = torch.rand(size, len(_OPERATIONS), generator=generator).argsort(dim=1).argsort(dim=1) < 2
    found = chosen * (torch.rand(size, len(_OPERATIONS), generator=generator) * 2 - 1) * strength
    return dict(zip(_OPERATIONS, found.unbind(dim=1), strict=True))


def _affine(images: Tensor, how: Augmentation, policy: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """Crop, flip, rotate, scale, shear and shift in one bilinear sampling; pixels outside the image are black.

    The crop is that of Szegedy et al. 2015, 'Going Deeper with Convolutions': a share of the area and an aspect ratio
    between 3:4 and 4:3, at a random place.
    """
    size, _, height, width = images.shape
    angle = _uniform(size, math.radians(how.rotate), generator) + policy["rotate"] * math.radians(30)
    slant = (_uniform(size, math.radians(how.shear), generator) + policy["shear"] * math.radians(17)).tan()
    scale = 1 / (1 + _uniform(size, how.scale, generator))
    mirror = 1 - 2 * (torch.rand(size, generator=generator) < how.flip).float()
    cos, sin = angle.cos() * scale, angle.sin() * scale
    theta = torch.zeros(size, 2, 3)
    theta[:, 0, 0] = cos * mirror
    theta[:, 0, 1] = cos * slant - sin
    theta[:, 1, 0] = sin * mirror
    theta[:, 1, 1] = sin * slant + cos
    # An image is 2 wide and 2 high here.
    theta[:, 0, 2] = _uniform(size, 2 * how.crop / width, generator) + policy["right"] * 2 * 0.3
    theta[:, 1, 2] = _uniform(size, 2 * how.crop / height, generator) + policy["down"] * 2 * 0.3
    if how.area < 1:
        area = how.area + (1 - how.area) * torch.rand(size, generator=generator)
        ratio = _uniform(size, math.log(4 / 3), generator).exp()
        share = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp_max(1)  # (B, 2) of x and y
        theta *= share[:, :, None]
        theta[:, :, 2] += (1 - share) * (torch.rand(size, 2, generator=generator) * 2 - 1)
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _colour(images: Tensor, limit: float, policy: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and, of colour images, saturation, each by its own factor."""
    brightness, contrast, saturation = (
        ((1 + _uniform(len(images), limit, generator)) * (1 + 0.9 * policy[name])).to(images.device).view(-1, 1, 1, 1)
        for name in ("brightness", "contrast", "saturation")
    )
    images = (images * brightness).clamp(0, 1)
    grey = _grey(images)
    images = torch.lerp(grey.mean(dim=(2, 3), keepdim=True), images, contrast).clamp(0, 1)
    return torch.lerp(_grey(images), images, saturation).clamp(0, 1) if images.shape[1] == 3 else images


def _grey(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H, W), with the weights of ITU-R 601-2."""
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    return (images * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """A random crop of the padded image: a shift by whole pixels, without interpolation."""
    size, channels, height, width = images.shape
    down = torch.randint(-pixels, pixels + 1, (size,), generator=generator).to(images.device)
    right = torch.randint(-pixels, pixels + 1, (size,), generator=generator).to(images.device)
    padded = F.pad(images, (pixels,) * 4)
    rows = torch.arange(height, device=images.device) + down[:, None] + pixels
    columns = torch.arange(width, device=images.device) + right[:, None] + pixels
    batch = torch.arange(size, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[:, None, None]
    return padded[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _morphology(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Thicken (grey dilation) or thin (erosion) bright strokes over a cross of five pixels."""
    draw = torch.rand(len(images), generator=generator).to(images.device).view(-1, 1, 1, 1)
    change = draw < probability
    thicken = draw < probability / 2
    signed = torch.where(thicken, images, -images)
    across = F.max_pool2d(signed, (1, 3), stride=1, padding=(0, 1))
    down = F.max_pool2d(signed, (3, 1), stride=1, padding=(1, 0))
    widest = torch.maximum(across, down)
    return torch.where(change, torch.where(thicken, widest, -widest), images)
