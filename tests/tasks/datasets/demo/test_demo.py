"""The demo's data: what it holds, and that its bytes are the recorded ones whatever draws them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from tasks.common.errors import GraftError
from tasks.data_versions.dvc_data import directory_md5
from tasks.datasets.demo import digits, glyphs
from tests.house.imports import ROOT

POINTER = yaml.safe_load((ROOT / "data.dvc").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "data"
    digits.make_demo(folder)
    return folder


@pytest.fixture(scope="module")
def splits(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    names = ("source/train", "target/train", "target/test")
    return {name: dict(np.load(folder / f"{name}.npz")) for name in names}


def test_the_bytes_are_the_ones_that_data_dvc_records(folder: Path) -> None:
    assert directory_md5(folder) == POINTER["outs"][0]["md5"] == POINTER["meta"]["demo"]


def test_the_bytes_do_not_depend_on_the_processor(folder: Path, tmp_path: Path) -> None:
    optional = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    if not optional:
        pytest.skip("this processor has no features that NumPy could do without")
    program = (
        "import pathlib, sys; from tasks.datasets.demo.digits import make_demo; make_demo(pathlib.Path(sys.argv[1]))"
    )
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(optional)}
    command = [sys.executable, "-c", program, str(tmp_path / "data")]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    assert directory_md5(tmp_path / "data") == directory_md5(folder)


def test_every_class_is_rendered_equally_often_and_no_picture_twice(splits: dict[str, dict[str, np.ndarray]]) -> None:
    source = splits["source/train"]
    assert source["images"].shape == (12_000, 16, 16)
    assert source["images"].dtype == np.uint8
    assert np.bincount(source["labels"]).tolist() == [1200] * 10
    assert len(np.unique(source["images"].reshape(12_000, -1), axis=0)) == 12_000
    assert source["class_names"].tolist() == list("0123456789")


def test_rendered_digits_are_whole_and_can_be_read_in_fonts_never_seen(
    splits: dict[str, dict[str, np.ndarray]],
) -> None:
    images, labels = splits["source/train"]["images"].reshape(12_000, -1), splits["source/train"]["labels"]
    assert images.max(axis=1).min() > 100, "a digit is hardly visible"
    font = np.arange(12_000) // 600
    unseen = np.isin(font, [0, 9, 14, 17])
    reader = KNeighborsClassifier(1).fit(images[~unseen][::3], labels[~unseen][::3])
    assert reader.score(images[unseen][::3], labels[unseen][::3]) > 0.85


def test_the_target_is_every_handwritten_digit_once(splits: dict[str, dict[str, np.ndarray]]) -> None:
    train, test = splits["target/train"], splits["target/test"]
    assert np.bincount(test["labels"]).tolist() == [60] * 10
    images, labels = (np.concatenate([train[key], test[key]]) for key in ("images", "labels"))
    digits = load_digits()

    def listed(pictures: np.ndarray, classes: np.ndarray) -> list[tuple[int, ...]]:
        return sorted((int(label), *picture.ravel().tolist()) for label, picture in zip(classes, pictures, strict=True))

    assert listed(np.rint(images / 255 * 16).astype(int), labels) == listed(digits.images.astype(int), digits.target)


@pytest.mark.parametrize("font", ["cmsy10", "cmex10", "cmmi10", "LastResortHE-Regular", "STIXNonUni"])
def test_fonts_without_digits_are_refused(font: str) -> None:
    with pytest.raises(GraftError, match="not digits"):
        glyphs.digit_masks(font)


def test_a_missing_font_says_what_to_install() -> None:
    with pytest.raises(GraftError, match=r"NoSuchFont\.ttf: cannot read this font(.|\n)*install it again"):
        glyphs.digit_masks("NoSuchFont")


def test_a_digit_is_filled_with_its_holes_left_open() -> None:
    zero, one, eight = glyphs.digit_masks("DejaVuSans")[[0, 1, 8]]
    middle = glyphs.CANVAS // 2
    assert not zero[middle, middle]
    assert one[middle, middle]
    assert not eight[middle - 16, middle]
    assert not eight[middle + 16, middle]
    rows = np.flatnonzero(zero.any(axis=1))
    assert rows[-1] - rows[0] + 1 == glyphs.GLYPH


def test_what_was_there_stays_when_rendering_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine").write_text("mine")
    monkeypatch.setattr(digits, "FONTS", ("NoSuchFont",))
    with pytest.raises(GraftError):
        digits.make_demo(tmp_path / "data")
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "mine"]
