import numpy as np
import pytest
import torch
from scipy import ndimage

from graft.data.augment import augment
from graft.settings import Augmentation


def vary(images: torch.Tensor, seed: int = 0, **how: float) -> torch.Tensor:
    return augment(images, Augmentation(**how), torch.Generator().manual_seed(seed))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(40, 2, 9, 9, generator=torch.Generator().manual_seed(1))


def test_nothing_is_varied_by_default(images: torch.Tensor) -> None:
    assert vary(images) is images


def test_flip_mirrors_about_half_of_the_pictures_and_leaves_the_others(images: torch.Tensor) -> None:
    result = vary(images, flip=0.5)
    mirrored = [torch.allclose(r, i.flip(-1), atol=1e-5) for r, i in zip(result, images, strict=True)]
    unchanged = [torch.allclose(r, i, atol=1e-5) for r, i in zip(result, images, strict=True)]
    assert all(m != u for m, u in zip(mirrored, unchanged, strict=True))
    assert 10 < sum(mirrored) < 30


def test_crop_shifts_by_whole_pixels_and_fills_with_black(images: torch.Tensor) -> None:
    result = vary(images, crop=2)
    moves = set()
    for after, before in zip(result.numpy(), images.numpy(), strict=True):
        found = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if np.array_equal(after, ndimage.shift(before, (0, dy, dx), order=0, cval=0))
        ]
        assert len(found) == 1
        moves.add(found[0])
    assert len(moves) > 10


def test_morphology_is_grey_dilation_or_erosion_over_a_cross(images: torch.Tensor) -> None:
    cross = ndimage.generate_binary_structure(2, 1)[None]
    result = vary(images, morphology=1.0).numpy()
    kinds = set()
    for after, before in zip(result, images.numpy(), strict=True):
        wide = ndimage.grey_dilation(before, footprint=cross, mode="nearest")
        thin = ndimage.grey_erosion(before, footprint=cross, mode="nearest")
        kinds.add("wide" if np.allclose(after, wide) else "thin" if np.allclose(after, thin) else "neither")
    assert kinds == {"wide", "thin"}


def test_rotation_turns_a_picture_about_its_centre() -> None:
    spot = torch.zeros(60, 1, 33, 33)
    spot[:, :, 15:18, 28:31] = 1.0  # right of the centre
    result = vary(spot, rotate=90.0)
    rows, columns = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    mass = result.sum(dim=(1, 2, 3))
    y, x = (result[:, 0] * rows).sum(dim=(1, 2)) / mass, (result[:, 0] * columns).sum(dim=(1, 2)) / mass
    torch.testing.assert_close((x**2 + y**2).sqrt(), torch.full((60,), 13.0), atol=0.3, rtol=0)
    assert y.min() < -9
    assert y.max() > 9
    assert x.min() > -1  # at most a quarter turn either way


def test_scale_changes_the_size_within_its_limit() -> None:
    square = torch.zeros(60, 1, 33, 33)
    square[:, :, 8:25, 8:25] = 1.0
    sides = vary(square, scale=0.3).sum(dim=(1, 2, 3)).sqrt()
    assert 17 * 0.68 < sides.min() < 17 * 0.8
    assert 17 * 1.2 < sides.max() < 17 * 1.32


def test_pictures_vary_alike_for_a_seed_and_differently_for_another(images: torch.Tensor) -> None:
    how = {"flip": 0.5, "crop": 2, "rotate": 20.0, "scale": 0.2, "shear": 10.0, "morphology": 0.5}
    first, again, other = vary(images, 3, **how), vary(images, 3, **how), vary(images, 4, **how)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
