"""The target's test pictures as they were before they were packed: for models that want another size."""

from pathlib import Path

import numpy as np

from tasks.artifacts import load_split
from tasks.datasets.check import hold_out
from tasks.datasets.layouts import TEST, TRAIN, open_domain
from tasks.datasets.pictures import UnreadableError, digest, fit
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
    domain = open_domain(root, settings.target)
    if domain.faults:
        raise GraftError([str(fault) for fault in domain.faults])
    pictures = domain.splits[TEST if TEST in domain.splits else TRAIN]
    try:
        images = [pictures.read(index, settings.channels) for index in range(len(pictures))]
    except UnreadableError as error:
        raise GraftError(f"{settings.target}: {error}") from None
    if TEST not in domain.splits:
        digests = [digest(image) for image in images]
        chosen = hold_out(pictures.labels, digests, settings.test_fraction, settings.seed)
        images = [images[index] for index in np.flatnonzero(chosen)]
    packed = load_split(root / TEST_DATA).images.numpy()
    if len(packed) != len(images) or any(
        not np.array_equal(fit(image, settings.image_size), row) for image, row in zip(images, packed, strict=True)
    ):
        raise GraftError(f"{settings.target} is not what {TEST_DATA} was packed from", "Run `graft run` once more.")
    for index, image in enumerate(images):
        image.save(folder / f"{index:08}.png")
