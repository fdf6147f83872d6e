"""Source models: where they lie, and what they make of the target's pictures or texts.

Legend: N pictures, C channels, H W height and width, D features, S source classes.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from graft.device import choose_device
from graft.network import Description, Network, at_a_time, predict
from graft.on_disk import in_memory
from graft.split import Split
from tasks.artifacts import load_split
from tasks.chosen import PRETRAINED, SOURCES
from tasks.errors import GraftError
from tasks.reading import tokens
from tasks.settings.forecast import OWN, ForecastSettings
from tasks.settings.sources import source_names

_GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601), as Pillow has them."""


@dataclass(frozen=True)
class Seen:
    """Pictures or texts of the pool as a network sees them, from one forward pass.

    Attributes:
        places: (N,) in the pool, ascending.
        features: (N, D).
        probabilities: (N, S).
    """

    places: Tensor
    features: Tensor
    probabilities: Tensor

    def at(self, values: Tensor, places: Tensor) -> Tensor:
        """The rows of `values` (N, …) that belong to some places in the pool."""
        return values[torch.searchsorted(self.places, places)]


def model_folders(project: Path, settings: ForecastSettings) -> dict[str, Path]:
    """The folders of the pretrained network, of the models of `sources` and of `forecast.models`, by name.

    Raises:
        GraftError: a name is taken, or a folder lies outside the project or holds no model; all of them.
    """
    problems, own = [], [OWN, *source_names(project / "params.yaml")]
    for name, folder in settings.models.items():
        where = f"params.yaml: forecast.models.{name}"
        if name in own:
            problems.append(f"{where}: {name!r} is the project's own model; choose another name")
        if not (project / folder).resolve().is_relative_to(project.resolve()):
            problems.append(f"{where}: {folder!r} lies outside the project")
        elif not (project / folder / "model.json").is_file():
            problems.append(f"{where}: {folder!r} holds no model.json")
    if problems:
        raise GraftError(problems)
    made = {name: project / (PRETRAINED if name == OWN else SOURCES / name) for name in own}
    return {**made, **{name: project / folder for name, folder in settings.models.items()}}


def look(network: Network, pool: "Packed", places: Tensor, tokenizer: Path) -> Seen:
    """The pictures or texts at `places` (M,) in the pool through a network, each once."""
    places = places.unique()
    network.to(choose_device())
    size = at_a_time(pool.read_by(network.description, tokenizer, places[:1]))
    parts = [predict(network, pool.read_by(network.description, tokenizer, part)) for part in places.split(size)]
    probabilities, features = (torch.cat(found) for found in zip(*parts, strict=True))
    return Seen(places, features, probabilities)


@dataclass(frozen=True)
class Packed:
    """A packed split and the folder that it lies in."""

    folder: Path
    split: Split

    @classmethod
    def load(cls, folder: Path) -> "Packed":
        """The split in `folder`; raises GraftError if there is none."""
        return cls(folder, load_split(folder))

    def read_by(self, description: Description, tokenizer: Path, places: Tensor) -> Tensor:
        """What is at `places` (M,), in the form that a network takes: pictures in its size, texts by its tokenizer.

        Raises:
            ValueError: the network reads pictures and these are texts, or the reverse.
        """
        if bool(description.vocabulary) != bool(self.split.vocabulary):
            raise ValueError(f"the network reads {description.reads}, not {self.split.reads}")
        if not description.vocabulary:
            return fit_pictures(self.split.images[places], description)
        return in_memory(tokens(description, tokenizer, self.split, self.folder, places))


def fit_pictures(images: Tensor, description: Description) -> Tensor:
    """Pictures (N, C, H, W) uint8 in the channels and the size that a network takes, as `prepare` would make them."""
    if images.shape[1] > description.channels:
        grey = (images * torch.tensor(_GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
        images = grey.round().to(torch.uint8)
    size = (description.image_size, description.image_size)
    if tuple(images.shape[2:]) != size:
        resized = interpolate(images.float(), size, mode="bicubic", antialias=True)
        images = resized.round().clamp(0, 255).to(torch.uint8)
    return images.expand(-1, description.channels, -1, -1)
