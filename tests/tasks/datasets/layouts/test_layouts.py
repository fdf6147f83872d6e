"""Every layout gives the same images; whatever is wrong with files is a problem that names them."""

import gzip
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.common.errors import GraftError
from tasks.datasets.files.arrays import read_idx, read_npz
from tasks.datasets.layouts.domain import Domain
from tasks.datasets.layouts.manifest import Columns
from tasks.datasets.layouts.recognise import open_domain
from tasks.datasets.pictures import UnreadableError, digest, fit, read_picture
from tests.tasks.support.raw_data import DIGITS, idx, labels, pictures, save_idx, save_npz, save_pictures

DRAWN = pictures(8)


def grey(domain: Domain, split: str) -> np.ndarray:
    """All images of a split (N, H, W), as they are read."""
    read = domain.splits[split].read
    return np.stack([np.asarray(read(index, 1)) for index in range(len(domain.splits[split]))])


def faults(root: Path, path: str = "raw") -> str:
    return "\n".join(map(str, open_domain(root, path).faults))


def asked(root: Path, **columns: str) -> str:
    """What is wrong where some column, or a domain, is asked for."""
    return "\n".join(map(str, open_domain(root, "raw", Columns(**columns)).faults))


class TestTheSamePicturesInEveryLayout:
    def check(self, root: Path, layout: str, classes: tuple[str, ...], *, test: bool = True) -> None:
        domain = open_domain(root, "raw")
        assert not domain.faults
        assert (domain.layout, domain.classes) == (layout, list(classes))
        assert sorted(domain.splits) == (["test", "train"] if test else ["train"])
        order = np.argsort(labels(8), kind="stable") if layout == "folders" else np.arange(8)
        for split in domain.splits:
            np.testing.assert_array_equal(grey(domain, split), DRAWN[order])
            np.testing.assert_array_equal(domain.splits[split].labels, labels(8)[order])

    def test_npz(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            save_npz(tmp_path / f"raw/{split}.npz", DRAWN)
        self.check(tmp_path, "npz", DIGITS)

    def test_npz_without_a_test_split(self, tmp_path: Path) -> None:
        save_npz(tmp_path / "raw/train.npz", DRAWN)
        self.check(tmp_path, "npz", DIGITS, test=False)

    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("test", ["t10k", "test"])
    def test_idx(self, tmp_path: Path, compressed: bool, test: str) -> None:
        for split in ("train", test):
            save_idx(tmp_path / "raw", split, DRAWN, compressed=compressed)
        self.check(tmp_path, "idx", ("0", "1"))

    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
    def test_folders_of_splits(self, tmp_path: Path, suffix: str) -> None:
        tree = {f"{split}/{name}": DRAWN[k::2] for split in ("train", "test") for k, name in enumerate("ab")}
        save_pictures(tmp_path / "raw", tree, suffix)
        self.check(tmp_path, "folders", ("a", "b"))

    def test_splits_may_be_called_so_in_letters_of_either_case(self, tmp_path: Path) -> None:
        tree = {f"{split}/{name}": DRAWN[k::2] for split in ("Train", "TEST") for k, name in enumerate("ab")}
        save_pictures(tmp_path / "raw", tree)
        self.check(tmp_path, "folders", ("a", "b"))

    def test_folders_of_classes_one_of_them_called_train(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "raw", {"plane": DRAWN[0::2], "train": DRAWN[1::2]})
        self.check(tmp_path, "folders", ("plane", "train"), test=False)

    def test_pictures_below_a_class_folder_belong_to_it(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "raw", {"a/2024": DRAWN[:1], "a/2025": DRAWN[1:2], "b": DRAWN[2:3]})
        domain = open_domain(tmp_path, "raw")
        expected = ["raw/a/2024/000.png", "raw/a/2025/000.png", "raw/b/000.png"]
        assert domain.splits["train"].names == expected


class TestOnePicture:
    def read(self, image: Image.Image, channels: int, kind: str = "PNG", **options: object) -> np.ndarray:
        file = io.BytesIO()
        image.save(file, kind, **options)
        file.seek(0)
        return np.asarray(read_picture(file, channels))

    def test_a_jpeg_is_turned_as_its_exif_says(self) -> None:
        image = Image.new("L", (16, 8))
        image.paste(255, (0, 0, 8, 8))
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise by a quarter
        turned = self.read(image, 1, "JPEG", exif=exif)
        assert turned.shape == (16, 8)
        assert turned[:6].min() > 240
        assert turned[10:].max() < 15

    def test_sixteen_bits_are_scaled_to_eight(self) -> None:
        values = np.array([[0, 257, 32_896, 65_535]], dtype=np.uint16)
        np.testing.assert_array_equal(self.read(Image.fromarray(values), 1), [[0, 1, 128, 255]])

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_transparent_parts_become_white(self, mode: str) -> None:
        image = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
        image.putpixel((1, 0), (0, 0, 0, 0))
        colours = self.read(image.convert(mode), 3)
        np.testing.assert_array_equal(colours[0, 1], [255, 255, 255])
        assert colours[0, 0, 0] < 255

    def test_palettes_and_colours_become_grey(self) -> None:
        image = Image.new("RGB", (4, 4), (100, 100, 100))
        for mode in ("RGB", "P", "L", "CMYK"):
            kind = "TIFF" if mode == "CMYK" else "PNG"
            np.testing.assert_allclose(self.read(image.convert(mode), 1, kind), 100, atol=3)

    @pytest.mark.parametrize(
        ("mode", "message"), [("F", "float values"), ("I", "32-bit values")], ids=["float", "32 bits"]
    )
    def test_values_without_a_clear_meaning_are_refused(self, mode: str, message: str) -> None:
        with pytest.raises(UnreadableError, match=message):
            self.read(Image.new(mode, (2, 2), -5), 1, "TIFF")

    def test_a_picture_too_large_is_refused_before_it_is_unpacked(self, tmp_path: Path) -> None:
        Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")
        assert (tmp_path / "bomb.png").stat().st_size < 200_000
        with pytest.raises(UnreadableError, match=r"too large|decompression bomb"):
            read_picture(tmp_path / "bomb.png", 1)

    def test_resizing_keeps_the_picture_and_the_order_of_channels(self) -> None:
        image = Image.new("RGB", (40, 20), (10, 20, 30))
        fitted = fit(image, 16)
        assert fitted.shape == (3, 16, 16)
        np.testing.assert_array_equal(fitted[:, 5, 5], [10, 20, 30])
        np.testing.assert_array_equal(fit(Image.fromarray(DRAWN[0]), 8), DRAWN[:1])

    def test_equal_pixels_have_equal_digests_whatever_the_file(self, tmp_path: Path) -> None:
        for name in ("a.png", "b.bmp", "c.tiff"):
            Image.fromarray(DRAWN[0]).save(tmp_path / name)
        assert len({digest(read_picture(path, 1)) for path in tmp_path.iterdir()}) == 1
        wide, tall = Image.new("L", (8, 2)), Image.new("L", (2, 8))
        assert digest(wide) != digest(tall)


class TestFoldersThatAreLittered:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        save_pictures(tmp_path / "raw", {"a": DRAWN[:2], "b": DRAWN[2:4]})
        return tmp_path

    def test_hidden_files_and_files_beside_the_classes_are_counted_and_left_out(self, root: Path) -> None:
        for name in ("a/.DS_Store", "b/Thumbs.db", ".git", "labels.csv"):
            (root / "raw" / name).write_text("x")
        domain = open_domain(root, "raw")
        assert not domain.faults
        assert domain.ignored == 4
        assert len(domain.splits["train"]) == 4

    def test_links_out_of_the_folder_are_refused(self, root: Path) -> None:
        Image.fromarray(DRAWN[5]).save(root / "secret.png")
        (root / "raw/a/link.png").symlink_to(root / "secret.png")
        (root / "raw/b/all").symlink_to(root)
        said = faults(root)
        assert "raw/a/link.png: a link to" in said
        assert "raw/b/all: a link to" in said
        assert "copy it in" in said

    def test_links_inside_the_folder_and_into_dvcs_cache_are_followed(self, root: Path) -> None:
        (root / "raw/a/again.png").symlink_to(root / "raw/a/000.png")
        cached = root / "cache/files/md5/ab" / ("0123456789" * 3)
        cached.parent.mkdir(parents=True)
        shutil.move(root / "raw/b/000.png", cached)
        (root / "raw/b/000.png").symlink_to(cached)
        domain = open_domain(root, "raw")
        assert not domain.faults
        np.testing.assert_array_equal(grey(domain, "train"), DRAWN[[0, 1, 0, 2, 3]])

    def test_an_unknown_split_is_named_with_the_valid_ones(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "raw", {"train/a": DRAWN[:1], "more/a": DRAWN[1:2]})
        assert "raw/more: not a split; valid: train, val, test" in faults(tmp_path)

    def test_a_class_of_the_test_split_alone_is_a_fault(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "raw", {"train/a": DRAWN[:1], "train/b": DRAWN[1:2], "test/c": DRAWN[2:3]})
        assert "raw/test/c: class 'c' is in the test split but not in train" in faults(tmp_path)


class TestWhatIsMissing:
    def test_splits_of_which_none_is_for_training_are_no_classes(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "raw", {"val/a": DRAWN[:1], "test/a": DRAWN[1:2]})
        assert faults(tmp_path) == (
            "raw: found test, val but no training split, train/CLASS/… (if these folders are classes, rename them)"
        )

    def test_folders_beside_domains_make_no_classes_of_them(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "raw", {"x/train/a": DRAWN[:1], "x/train/b": DRAWN[1:2], "y/test/a": DRAWN[2:3]})
        told = "raw: y: no training split (train/CLASS/… or train.tsv); valid domains: x; choose one with"
        assert told in faults(tmp_path)
        assert told in asked(tmp_path, domain="y")
        assert "raw: no domain 'z'; found x; choose one with" in asked(tmp_path, domain="z")
        assert asked(tmp_path, domain="x") == ""
        (tmp_path / "raw/notes").mkdir()
        assert asked(tmp_path, domain="x") == ""

    @pytest.mark.parametrize(
        ("also", "layout"),
        [
            ("vehicle/train/steam/x.png", "folders"),
            ("a/train.csv", "folders"),
            ("b/.ipynb_checkpoints/x.png", "folders"),
        ],
    )
    def test_a_class_may_hold_what_is_called_as_a_split_is(self, tmp_path: Path, also: str, layout: str) -> None:
        save_pictures(tmp_path / "raw", {"a": DRAWN[:2], "b": DRAWN[2:4]})
        (tmp_path / "raw" / also).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "raw/a/000.png", tmp_path / "raw" / also)
        domain = open_domain(tmp_path, "raw")
        assert (domain.layout, domain.faults) == (layout, [])
        assert {"a", "b"} <= set(domain.classes)

    def test_classes_called_as_splits_are_stay_classes_where_they_hold_pictures(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "raw", {"test": DRAWN[:2], "val": DRAWN[2:4]})
        (tmp_path / "raw/test/.ipynb_checkpoints").mkdir()
        assert open_domain(tmp_path, "raw").classes == ["test", "val"]

    def test_folders_beside_a_file_that_holds_all_are_no_domains(self, tmp_path: Path) -> None:
        save_npz(tmp_path / "raw/train.npz", DRAWN)
        save_pictures(tmp_path / "raw", {"old/train/a": DRAWN[:1], "older/train/a": DRAWN[:1]})
        assert (open_domain(tmp_path, "raw").layout, faults(tmp_path)) == ("npz", "")

    @pytest.mark.parametrize("key", ["label", "group", "text"])
    def test_a_column_of_what_is_no_table(self, tmp_path: Path, key: str) -> None:
        save_pictures(tmp_path / "raw", {"a": DRAWN[:2], "b": DRAWN[2:4]})
        expected = f"raw: is not a table, so it has no column 'patient' (prepare.*_{key}_column)"
        assert asked(tmp_path, **{key: "patient"}) == expected
        shutil.rmtree(tmp_path / "raw")
        save_npz(tmp_path / "raw/train.npz", DRAWN)
        assert asked(tmp_path, **{key: "patient"}) == expected

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        assert "raw: folder not found; expected train.npz" in faults(tmp_path)

    def test_a_folder_without_data(self, tmp_path: Path) -> None:
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw/notes.txt").write_text("x")
        assert "raw: no data in a known layout; expected train.npz" in faults(tmp_path)

    def test_a_test_split_alone(self, tmp_path: Path) -> None:
        save_npz(tmp_path / "raw/test.npz", DRAWN)
        assert "raw: no training images" in faults(tmp_path)

    def test_images_without_labels(self, tmp_path: Path) -> None:
        save_idx(tmp_path / "raw", "train", DRAWN)
        (tmp_path / "raw/train-labels-idx1-ubyte").unlink()
        assert "the train split needs both its images and its labels" in faults(tmp_path)

    def test_fewer_labels_than_images(self, tmp_path: Path) -> None:
        save_idx(tmp_path / "raw", "train", DRAWN)
        (tmp_path / "raw/train-labels-idx1-ubyte").write_bytes(idx(labels(7)))
        assert "the train split has 8 images and 7 labels" in faults(tmp_path)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"images": DRAWN.astype(np.float32)}, "images: dtype float32, must be uint8"),
        ({"images": DRAWN.reshape(8, 64)}, "images: shape (8, 64), must be (N, H, W) or (N, H, W, C)"),
        ({"images": np.zeros((8, 3, 9, 9), np.uint8)}, "images: shape (8, 3, 9, 9), must be"),
        ({"images": np.zeros((8, 0, 9), np.uint8)}, "images without pixels"),
        ({"labels": labels(7)}, "labels: shape (7,), must be (8,)"),
        ({"labels": labels(8).astype(float)}, "labels: dtype float64, must be integers"),
        ({"labels": labels(8) + 1}, "labels: 4 out of range, first 2 at [1]; valid: 0 to 1"),
        ({"class_names": np.array(["a", "b" * 201])}, "class_names: characters of one: 201, at most 200"),
        ({"class_names": np.array(["a", "a"])}, "class_names: ['a', 'a'], a name is repeated"),
        ({"class_names": np.array([1, 2])}, "class_names: int64 of shape (2,), must be the class names"),
    ],
)
def test_arrays_that_do_not_fit_are_explained(tmp_path: Path, replaced: dict, message: str) -> None:
    save_npz(tmp_path / "raw/train.npz", DRAWN, **replaced)
    said = faults(tmp_path)
    assert said.startswith("raw/train.npz: ")
    assert message in said


def test_all_that_is_wrong_with_a_file_is_told_at_once(tmp_path: Path) -> None:
    save_npz(tmp_path / "raw/train.npz", DRAWN.astype(float), labels=labels(8) - 1)
    said = faults(tmp_path)
    assert "images: dtype" in said
    assert "labels: 4 out of range" in said


def test_a_missing_key_is_named_with_those_that_are_needed(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    np.savez(tmp_path / "raw/train.npz", images=DRAWN)
    assert "missing keys: labels, class_names; required: images, labels, class_names" in faults(tmp_path)


def test_splits_that_name_their_classes_differently_are_refused(tmp_path: Path) -> None:
    save_npz(tmp_path / "raw/train.npz", DRAWN)
    save_npz(tmp_path / "raw/test.npz", DRAWN, classes=("one", "zero"))
    assert "raw/test.npz: class_names ['one', 'zero'] differ from those of train.npz" in faults(tmp_path)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "exploded"),))

    (tmp_path / "raw").mkdir()
    np.savez(tmp_path / "raw/train.npz", images=np.array([Bomb()]), labels=labels(1), class_names=np.array(["a"]))
    assert "cannot be read as NPZ" in faults(tmp_path)
    assert not (tmp_path / "exploded").exists()


GOOD_NPZ, GOOD_PNG = io.BytesIO(), io.BytesIO()
np.savez(GOOD_NPZ, images=DRAWN, labels=labels(8), class_names=np.array(DIGITS))
Image.fromarray(DRAWN[0]).save(GOOD_PNG, "PNG")


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """Truncated copies, copies with bytes replaced, and any bytes at all."""
    truncated = st.integers(0, len(good) - 1).map(lambda end: good[:end])
    changes = st.dictionaries(st.integers(0, len(good) - 1), st.integers(0, 255), min_size=1, max_size=8)
    replaced = changes.map(lambda new: bytes(new.get(place, byte) for place, byte in enumerate(good)))
    return truncated | replaced | st.binary(max_size=200)


lenient = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@lenient
@given(content=damaged(GOOD_NPZ.getvalue()))
def test_a_damaged_npz_is_a_fault_or_still_fits(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.npz").write_bytes(content)
    try:
        images, found, names = read_npz(tmp_path / "train.npz")
    except GraftError:
        return
    assert images.dtype == np.uint8
    assert len(images) == len(found)
    assert all(0 <= label < len(names) for label in found)


@lenient
@given(plain=damaged(idx(DRAWN)), compressed=damaged(gzip.compress(idx(DRAWN), mtime=0)))
def test_a_damaged_idx_is_a_fault_or_still_fits(tmp_path: Path, plain: bytes, compressed: bytes) -> None:
    for name, content in (("a", plain), ("a.gz", compressed)):
        (tmp_path / name).write_bytes(content)
        try:
            assert read_idx(tmp_path / name, dimensions=3).ndim == 3
        except GraftError:
            continue


@lenient
@given(content=damaged(GOOD_PNG.getvalue()))
def test_a_damaged_picture_is_unreadable_or_still_a_picture(content: bytes) -> None:
    try:
        assert read_picture(io.BytesIO(content), 1).mode == "L"
    except UnreadableError:
        return
