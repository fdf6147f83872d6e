import numpy as np
import pytest
import torch
from scipy import ndimage

from graft.data.augment import _policy, augment
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


def test_a_crop_shows_a_part_of_the_image_at_the_size_of_the_whole() -> None:
    """The image names its own places, so a crop says where it was taken: everywhere, of the areas and aspects asked."""
    size = 64
    across = (torch.arange(size) + 0.5) / size
    places = torch.stack([across.expand(size, size), across[:, None].expand(size, size)])
    found = vary(places.expand(300, 2, size, size), area=0.35)
    widths = (found[:, 0, :, -1] - found[:, 0, :, 0]).mean(dim=1) * size / (size - 1)
    heights = (found[:, 1, -1, :] - found[:, 1, 0, :]).mean(dim=1) * size / (size - 1)
    assert found.min() > 0, "no crop reaches beyond the image, where it is black"
    areas, ratios = widths * heights, widths / heights
    assert (areas.min() - 0.02, areas.max()) > (0.3, 0.35)
    assert areas.max() <= 1.01
    inside = (widths < 0.99) & (heights < 0.99)  # a crop as wide as the image is cut to it
    assert ratios[inside].min() > 0.74
    assert ratios[inside].max() < 1.35
    centres = found.mean(dim=(2, 3))
    assert centres.min() < 0.35
    assert centres.max() > 0.65


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_changes_are_those_of_torchvision(monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    functional = pytest.importorskip("torchvision.transforms.functional")
    images = torch.rand(5, channels, 8, 8, generator=torch.Generator().manual_seed(2))
    factors = iter([0.7, 1.2, 0.6])
    monkeypatch.setattr(
        "graft.data.augment._uniform", lambda size, _limit, _gen: torch.full((size,), next(factors) - 1)
    )
    expected = functional.adjust_contrast(functional.adjust_brightness(images, 0.7), 1.2)
    if channels == 3:
        expected = functional.adjust_saturation(expected, 0.6)
    torch.testing.assert_close(vary(images, colour=0.4), expected, atol=2e-3, rtol=0)


def test_colours_differ_from_image_to_image_and_stay_in_range(images: torch.Tensor) -> None:
    same = images[:1].expand(20, -1, -1, -1)
    found = vary(same, colour=0.5)
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.flatten(1).mean(dim=1).std() > 0.01


def test_the_policy_changes_two_things_of_each_image() -> None:
    found = torch.stack(list(_policy(400, 0.5, torch.Generator().manual_seed(0)).values()))  # (operations, B)
    assert (found != 0).sum(dim=0).tolist() == [2] * 400
    assert 0.45 < found.abs().max() <= 0.5
    assert (found != 0).float().mean(dim=1).min() > 0.2, "every operation has its turn"


def test_the_policy_moves_and_recolours_but_leaves_the_range() -> None:
    images = torch.rand(60, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    result = vary(images, policy=1.0)
    assert result.min() >= 0
    assert result.max() <= 1
    means = (result.mean(dim=(2, 3)) - images.mean(dim=(2, 3))).abs().amax(dim=1)
    assert (means > 0.05).float().mean() > 0.5
    assert torch.equal(vary(images, policy=1.0), result)
