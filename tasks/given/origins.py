"""Where given weights come from, by the form of their name."""

from collections.abc import Callable
from pathlib import Path

from graft.foreign_bodies import TIMM, TORCHVISION
from tasks.given.given import Given
from tasks.given.libraries import from_timm, from_torchvision
from tasks.given.local import from_file
from tasks.given.registered import MODELS, from_registry


def origin(weights: str, project: Path) -> Callable[[], Given]:
    """What gets them when it is called."""
    if weights.startswith(TORCHVISION):
        return lambda: from_torchvision(weights)
    if weights.startswith(TIMM):
        return lambda: from_timm(weights)
    if weights.startswith(MODELS):
        return lambda: from_registry(weights, project)
    return lambda: from_file(weights, project)
