"""Find the origin of given weights from the form of their name."""

from collections.abc import Callable
from pathlib import Path

from graft.networks.foreign_bodies import TIMM, TORCHVISION
from tasks.settings.pretrain import FOLDER
from tasks.source_models.from_encoder import PACKAGED, from_folder
from tasks.source_models.from_file import from_file
from tasks.source_models.from_library import from_timm, from_torchvision
from tasks.source_models.from_registry import MODELS, from_registry
from tasks.source_models.given_network import GivenNetwork


def origin(weights: str, project: Path) -> Callable[[], GivenNetwork]:
    """A function that loads the weights when it is called."""
    if weights.startswith(TORCHVISION):
        return lambda: from_torchvision(weights)
    if weights.startswith(TIMM):
        return lambda: from_timm(weights)
    if weights.startswith(MODELS):
        return lambda: from_registry(weights, project)
    if weights in PACKAGED:
        return PACKAGED[weights]
    if weights.startswith(FOLDER):
        return lambda: from_folder(weights, project)
    return lambda: from_file(weights, project)
