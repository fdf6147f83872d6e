"""Which source images or texts a strategy drew often, and which hardly ever.

Legend: S seeds, N source images, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graft.data.split import Split
from tasks.datasets.text.digest import shortened
from tasks.report.thumbnails import strip

SHOWN, SHOWN_TEXTS = 100, 12
"""Images in each of the two sheets, or texts in each of the two lists."""

MOST_CLASSES = 12

CARRIED = 0.9
"""How many of all draws the images carry that are counted."""


@dataclass(frozen=True)
class ClassShare:
    """A source class among all images, and among the draws."""

    name: str
    of_pictures: float
    of_draws: float


@dataclass(frozen=True)
class SourceChoice:
    """What the report shows of a strategy that does not draw all source images alike."""

    strategy: str
    most: str | tuple[str, ...]
    """The images that are drawn most, as the `src` of an image; or the texts."""
    least: str | tuple[str, ...]
    carrying: float
    """The share of the source that nine draws of ten come from, mean over seeds."""
    classes: tuple[ClassShare, ...]
    """The classes that are drawn most, in relation to how many images they have, first."""
    classes_left_out: int


def source_choice(strategy: str, weights: Tensor, source: Split, texts: Sequence[str] | None = None) -> SourceChoice:
    """The choice that `weights` (S, N), one row a seed, stand for; `texts` are the source's, if it holds any."""
    shares = weights.double() / weights.double().sum(dim=1, keepdim=True)
    mean = shares.mean(dim=0)
    order = mean.argsort(descending=True, stable=True)
    classes = class_shares(mean, source)
    return SourceChoice(
        strategy,
        most=_shown(order[:SHOWN], source, texts),
        least=_shown(_least(mean, order), source, texts),
        carrying=sum(carrying_share(row) for row in shares) / len(shares),
        classes=tuple(classes[:MOST_CLASSES]),
        classes_left_out=max(0, len(classes) - MOST_CLASSES),
    )


def _shown(places: Tensor, source: Split, texts: Sequence[str] | None) -> str | tuple[str, ...]:
    if texts is None:
        return strip(source.take(places))
    return tuple(shortened(texts[place]) for place in places[:SHOWN_TEXTS].tolist())


def carrying_share(shares: Tensor) -> float:
    """How many of the images, those drawn most, make up `CARRIED` of all draws; shares (N,) sum to 1."""
    cumulative = shares.sort(descending=True).values.cumsum(dim=0)
    return (int((cumulative < CARRIED - 1e-9).sum()) + 1) / len(shares)


def class_shares(shares: Tensor, source: Split) -> list[ClassShare]:
    """Each class with images, those that are drawn more than their number would let expect first.

    Judged by the shares as they are shown, to a tenth of a percent; classes that look the same go by name.
    """
    count = len(source.classes)
    draws = torch.zeros(count, dtype=torch.double).index_add(0, source.labels, shares.double()).tolist()
    pictures = (torch.bincount(source.labels, minlength=count) / len(source)).tolist()
    found = [
        ClassShare(name, of_pictures, of_draws)
        for name, of_pictures, of_draws in zip(source.classes, pictures, draws, strict=True)
        if of_pictures
    ]
    return sorted(
        found, key=lambda share: (-round(share.of_draws, 3) / max(0.001, round(share.of_pictures, 3)), share.name)
    )


def _least(shares: Tensor, order: Tensor) -> Tensor:
    """The images that are drawn least; where many are not drawn at all, some evenly from all of these."""
    never = (shares == 0).nonzero().flatten()
    if len(never) <= SHOWN:
        return order[-SHOWN:].flip(0)
    return never[torch.arange(SHOWN) * len(never) // SHOWN]
