"""The source models to rank: their folders, and their outputs for the target's images or texts.

Legend: N images, C channels, H W height and width, D features, S source classes.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from graft.networks.device import choose_device
from graft.networks.network import Network, at_a_time, predict
from tasks.artifacts.packed import Packed
from tasks.common.errors import GraftError
from tasks.common.places import PARAMS, PRETRAINED, SOURCES
from tasks.settings.forecast import OWN, ForecastSettings
from tasks.settings.sources import source_names

_GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601), as in Pillow."""


@dataclass(frozen=True)
class Seen:
    """A network's outputs for images or texts of the pool, from one forward pass.

    Attributes:
        places: (N,) in the pool, ascending.
        features: (N, D).
        probabilities: (N, S).
    """

    places: Tensor
    features: Tensor
    probabilities: Tensor

    def at(self, values: Tensor, places: Tensor) -> Tensor:
        """The rows of `values` (N, …) for the given places in the pool."""
        return values[torch.searchsorted(self.places, places)]


def model_folders(project: Path, settings: ForecastSettings) -> dict[str, Path]:
    """The folders of the pretrained network, of the models of `sources` and of `forecast.models`, by name.

    Raises:
        GraftError: a name is taken, or a folder is outside the project or contains no model; lists all of them.
    """
    problems, own = [], [OWN, *source_names(project / PARAMS)]
    for name, folder in settings.models.items():
        where = f"{PARAMS}: forecast.models.{name}"
        if name in own:
            problems.append(f"{where}: {name!r} is the project's own model; choose another name")
        if not (project / folder).resolve().is_relative_to(project.resolve()):
            problems.append(f"{where}: {folder!r} is outside the project")
        elif not (project / folder / "model.json").is_file():
            problems.append(f"{where}: {folder!r} contains no model.json")
    if problems:
        raise GraftError(problems)
    made = {name: project / (PRETRAINED if name == OWN else SOURCES / name) for name in own}
    return {**made, **{name: project / folder for name, folder in settings.models.items()}}


def look(network: Network, pool: Packed, places: Tensor, tokenizer: Path) -> Seen:
    """Run the images or texts at `places` (M,) in the pool through a network, each once."""
    places = places.unique()
    network.to(choose_device())
    size = at_a_time(pool.read_by(network.description, tokenizer, places[:1]))
    parts = [predict(network, pool.read_by(network.description, tokenizer, part)) for part in places.split(size)]
    probabilities, features = (torch.cat(found) for found in zip(*parts, strict=True))
    return Seen(places, features, probabilities)
