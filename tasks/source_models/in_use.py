"""The source model that the trials start from, and its images: the project's own, unless another was chosen.

The stage `forecast` writes build/chosen: choice.json, and the chosen model if it is not the project's own.
"""

import shutil
from pathlib import Path

from tasks.common.files import new_folder, write_json
from tasks.common.places import CHOSEN, PRETRAINED, SOURCE, SOURCES
from tasks.settings.forecast import OWN

IMAGES = "data"
"""The folder with the images of a further source that has its own."""


def choose(project: Path, name: str) -> None:
    """Choose the source model that the trials start from, by name."""
    with new_folder(project / CHOSEN) as folder:
        if name != OWN:
            shutil.copytree(project / SOURCES / name, folder, dirs_exist_ok=True)
        write_json(folder / "choice.json", {"source": name})


def network_of(source: str = "", project: Path = Path()) -> Path:
    """The folder of a further source's network, or, if none is named, of the one that the trials start from."""
    if source:
        return project / SOURCES / source
    return project / (CHOSEN if (project / CHOSEN / "model.json").exists() else PRETRAINED)


def pictures_of(source: str = "", project: Path = Path()) -> Path:
    """The folder of the source's packed images: its own, or else the project's."""
    own = project / (SOURCES / source if source else CHOSEN) / IMAGES
    return own if own.exists() else project / SOURCE
