"""Given weights as the stage `weights` wrote them."""

import json
from dataclasses import dataclass
from pathlib import Path

from tasks.artifacts.networks import load_description
from tasks.common.errors import GraftError
from tasks.settings.pretrain import NONE

ORIGIN = "origin.json"
"""A file next to the network: the origin of its weights, their version and their hash."""


@dataclass(frozen=True)
class Origin:
    """A folder with a network that was made elsewhere."""

    folder: Path
    weights: str
    """As params.yaml names them."""
    version: str
    sha256: str
    image_size: int
    """Image size in pixels that they were trained with; 0 for texts."""

    def to_dict(self) -> dict[str, str | int]:
        """The entry `weights` of a network's metrics.json."""
        return {name: getattr(self, name) for name in ("weights", "version", "sha256", "image_size")}


def read_origin(folder: Path) -> Origin | None:
    """The weights in a folder that `write_given` wrote; None where none were given.

    Raises:
        GraftError: the folder does not exist or cannot be read.
    """
    try:
        content = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        if content["weights"] == NONE:
            return None
        return Origin(folder, **content, image_size=load_description(folder).image_size)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GraftError(
            f"{folder}: the given weights cannot be read: {error}", "Write them again with: dvc repro weights"
        ) from None
