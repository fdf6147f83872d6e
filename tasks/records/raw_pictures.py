"""The target's test pictures as they were before they were packed: for models that want another size."""

from pathlib import Path

import numpy as np

from tasks.artifacts import load_split
from tasks.datasets.check import raw_test_pictures
from tasks.datasets.pictures import fit
from tasks.errors import GraftError
from tasks.parameters import read_section
from tasks.records.outcome import TEST_DATA
from tasks.settings.prepare import PrepareSettings


def write_test_pictures(root: Path, folder: Path) -> None:
    """Write the test pictures of the project in `root` as PNG files into `folder`; sorted, they are in packed order.

    Raises:
        GraftError: the raw data is not there, or is not what build/data was packed from.
    """
    settings = read_section(root / "params.yaml", "prepare", PrepareSettings)
    images = list(raw_test_pictures(root, settings))
    packed = load_split(root / TEST_DATA).images.numpy()
    if len(packed) != len(images) or any(
        not np.array_equal(fit(image, settings.image_size), row) for image, row in zip(images, packed, strict=True)
    ):
        raise GraftError(f"{settings.target} is not what {TEST_DATA} was packed from", "Run `graft run` once more.")
    for index, image in enumerate(images):
        image.save(folder / f"{index:08}.png")
