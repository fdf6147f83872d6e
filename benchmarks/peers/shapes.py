"""Generated photos, so to say: eight shapes in any colour, size and pose on a background of noise and clutter.

No strategy of Graft and no setting was ever tuned on them.
"""

import math
import random

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from graft.data.split import Split

SIZE = 96
_LARGE = 2 * SIZE
"""Drawn twice as large, which smooths the edges."""
Points = list[tuple[float, float]]


def _regular(corners: int, inner: float = 1.0) -> Points:
    """A polygon with equal sides, or a star if `inner` is below 1, around 0."""
    steps = corners if inner == 1.0 else 2 * corners
    radius = [1.0 if inner == 1.0 or i % 2 == 0 else inner for i in range(steps)]
    return [
        (r * math.cos(2 * math.pi * i / steps), r * math.sin(2 * math.pi * i / steps)) for i, r in enumerate(radius)
    ]


def _heart() -> Points:
    angles = [2 * math.pi * i / 60 for i in range(60)]
    return [
        (
            math.sin(t) ** 3,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 17,
        )
        for t in angles
    ]


SHAPES: dict[str, Points] = {
    "arrow": [(-1, -0.3), (0.2, -0.3), (0.2, -0.8), (1, 0), (0.2, 0.8), (0.2, 0.3), (-1, 0.3)],
    "circle": _regular(40),
    "cross": [(-1, -0.3), (-0.3, -0.3), (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3),
              (1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3)],
    "heart": _heart(),
    "hexagon": _regular(6),
    "square": _regular(4),
    "star": _regular(5, inner=0.45),
    "triangle": _regular(3),
}  # fmt: skip
"""Corners of each, around 0 and within 1."""


def shapes(each: int, seed: int) -> Split:
    """`each` images of every shape, in colour."""
    draw = random.Random(seed)
    images = [np.asarray(_picture(points, draw)) for points in SHAPES.values() for _ in range(each)]
    labels = torch.arange(len(SHAPES)).repeat_interleave(each)
    return Split(torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()), labels, tuple(SHAPES))


def _picture(points: Points, draw: random.Random) -> Image.Image:
    noise = np.random.RandomState(draw.randrange(2**31)).randint(0, 256, (6, 6, 3)).astype(np.uint8)
    image = Image.fromarray(noise).resize((_LARGE, _LARGE), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        ends = [tuple(draw.uniform(0, _LARGE) for _ in range(2)) for _ in range(2)]
        pen.line(ends, fill=_colour(draw), width=draw.randint(1, 6))
    placed = _placed(points, draw)
    if draw.random() < 0.5:
        pen.polygon(placed, fill=_colour(draw))
    else:
        pen.line([*placed, placed[0], placed[1]], fill=_colour(draw), width=draw.randint(5, 12), joint="curve")
    return image.filter(ImageFilter.GaussianBlur(draw.uniform(0, 2))).resize((SIZE, SIZE), Image.Resampling.BOX)


def _placed(points: Points, draw: random.Random) -> Points:
    """Turned by up to 40 degrees, slanted, of any size, at any place where most of it can be seen."""
    angle, size, slant = draw.uniform(-0.7, 0.7), draw.uniform(0.2, 0.42) * _LARGE, draw.uniform(-0.3, 0.3)
    across, down = (draw.uniform(0.38, 0.62) * _LARGE for _ in range(2))
    cos, sin = math.cos(angle), math.sin(angle)
    slanted = [(x + slant * y, y) for x, y in points]
    return [(across + size * (cos * x - sin * y), down + size * (sin * x + cos * y)) for x, y in slanted]


def _colour(draw: random.Random) -> tuple[int, int, int]:
    return draw.randrange(256), draw.randrange(256), draw.randrange(256)
