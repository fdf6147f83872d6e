"""The target's raw test images, before packing: for models that take another image size."""

from pathlib import Path

import numpy as np

from tasks.artifacts.splits import load_split
from tasks.common.errors import GraftError
from tasks.common.places import PARAMS, TEST
from tasks.datasets.check import raw_test_pictures
from tasks.datasets.pictures import fit
from tasks.settings.prepare import PrepareSettings
from tasks.settings.yaml_sections import read_section


def write_test_pictures(root: Path, folder: Path) -> None:
    """Write the test images of the project in `root` as PNG files into `folder`; sorted, they are in packed order.

    Raises:
        GraftError: the raw data is missing, or build/data was packed from other data.
    """
    settings = read_section(root / PARAMS, "prepare", PrepareSettings)
    packed, count = load_split(root / TEST).images, 0
    for count, image in enumerate(raw_test_pictures(root, settings), 1):
        if count > len(packed) or not np.array_equal(fit(image, settings.image_size), packed[count - 1].numpy()):
            raise _other_data(settings)
        image.save(folder / f"{count - 1:08}.png")
    if count != len(packed):
        raise _other_data(settings)


def _other_data(settings: PrepareSettings) -> GraftError:
    return GraftError(f"{settings.target} has changed since {TEST} was packed from it", "Run `graft run` again.")
