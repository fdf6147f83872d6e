"""`graft data add` takes good data in, whole, and leaves everything as it was where the data is bad."""

import bz2
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from tasks.common.errors import AwayError, GraftError
from tasks.data_versions import add as adding
from tasks.data_versions import torchvision_sets
from tasks.data_versions.add import Card, add, card_of
from tasks.data_versions.dvc_data import compare
from tasks.datasets.check import examine
from tasks.datasets.preview import PER_CLASS, save_sheets
from tasks.new_project.answers import Answers
from tasks.new_project.create import create
from tasks.settings.prepare import PrepareSettings
from tests.tasks.support.raw_data import idx, labels, pictures, save_npz, save_pictures


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    create(tmp_path / "mine", Answers("mine", image_size=8, channels=1, labels=(2,)), git=False)
    return tmp_path / "mine"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of twelve images each, one of them there twice, in folders with a test split."""
    drawn = pictures(24, seed=2)
    tree = {"train/one": drawn[:8], "train/two": drawn[8:16], "test/one": drawn[16:20], "test/two": drawn[20:]}
    save_pictures(tmp_path / "photos", tree)
    shutil.copy(tmp_path / "photos/train/one/000.png", tmp_path / "photos/train/one/again.png")
    return tmp_path / "photos"


def take(root: Path, role: adding.Role, origin: Path | str, **more: Path) -> Card:
    return add(root, role, str(origin), on_line=lambda _: None, **more)


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file of the project but DVC's own."""
    files = [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] != ".dvc"]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_the_first_of_the_two_is_added_and_versioned_while_the_other_is_not_there(root: Path, photos: Path) -> None:
    card = take(root, "target", photos)
    assert sorted(card.parts) == ["pool", "test"]
    pool = card.parts["pool"]
    assert (pool.layout, pool.classes, pool.duplicates, pool.content.sizes) == (
        "folders",
        {"one": 9, "two": 8},
        1,
        ((8, 8),) * 3,
    )
    assert not pool.content.has_colour
    assert compare(root) == "unchanged"
    assert not (root / adding.STAGING).exists()


def test_the_other_is_added_beside_it_and_classes_are_matched(root: Path, photos: Path, tmp_path: Path) -> None:
    take(root, "target", photos)
    before = (root / "data.dvc").read_text()
    save_npz(tmp_path / "digits.npz", pictures(20, seed=1), classes=("two", "three"))
    card = take(root, "source", tmp_path / "digits.npz")
    assert (root / "data/source/train.npz").exists()
    assert set(card.parts["source"].classes) == {"two", "three"}
    assert (root / "data.dvc").read_text() != before
    assert compare(root) == "unchanged"
    assert card_of(root).parts.keys() == card.parts.keys()


def test_one_folder_may_hold_both_as_domains(root: Path, photos: Path, tmp_path: Path) -> None:
    save_pictures(tmp_path / "all/photo", {"train/one": pictures(4, seed=1), "train/two": pictures(4, seed=3)})
    photos.rename(tmp_path / "all/sketch")
    params = (root / "params.yaml").read_text().replace("data/source", "data/all").replace("data/target", "data/all")
    domains = "prepare:\n  source_domain: photo\n  target_domain: sketch\n"
    (root / "params.yaml").write_text(params.replace("prepare:\n", domains))
    card = take(root, "source", tmp_path / "all")
    assert {name: part.n for name, part in card.parts.items()} == {"source": 8, "pool": 17, "test": 8}
    assert card.parts["pool"].path == "data/all/sketch"
    with pytest.raises(GraftError, match="data/all exists already"):
        take(root, "target", tmp_path / "all")


def test_a_table_is_added_with_its_pictures(root: Path, tmp_path: Path) -> None:
    save_pictures(tmp_path / "listed", {"images": pictures(12, seed=1)})
    rows = [f"images/{number:03}.png,{'ab'[number % 2]}" for number in range(12)]
    (tmp_path / "listed/list.csv").write_text("\n".join(["path,label", *rows]))
    assert take(root, "source", tmp_path / "listed").parts["source"].layout == "manifest"
    with pytest.raises(GraftError, match=r"data/target/list\.csv|data/target/images/000\.png: does not exist"):
        take(root, "target", tmp_path / "listed/list.csv")


def test_bad_data_is_refused_with_all_faults_and_changes_nothing(root: Path, photos: Path, tmp_path: Path) -> None:
    take(root, "target", photos)
    before = snapshot(root)
    bad = tmp_path / "bad"
    save_pictures(bad, {"one": pictures(4, seed=9), "empty": pictures(0)})
    (bad / "one/torn.png").write_bytes((bad / "one/000.png").read_bytes()[:50])
    shutil.copy(photos / "test/two/001.png", bad / "one/leak.png")
    with pytest.raises(GraftError) as caught:
        take(root, "source", bad)
    said = "\n".join(caught.value.problems)
    assert "data/source/one/torn.png: cannot be decoded" in said
    assert "class 'empty' is empty" in said
    assert "data/target/test/two/001.png: this image of the test split is in the source split too" in said
    assert "on_error: skip" in caught.value.hint
    assert snapshot(root) == before


@pytest.mark.parametrize(
    ("lay", "told"),
    [
        (
            lambda folder: (folder / "a.png").symlink_to("a.png"),
            "a.png: a link to a.png, which does not exist or points",
        ),
        (lambda folder: (folder / "a.png").symlink_to("no.png"), "a.png: a link to no.png, which does not exist"),
        (lambda folder: (folder / "up").symlink_to(".."), "up: a link to a folder that contains it"),
        (lambda folder: os.mkfifo(folder / "pipe"), "pipe: neither a file nor a folder"),
    ],
)
def test_what_cannot_be_copied_is_told_and_nothing_is_left(
    root: Path, tmp_path: Path, lay: Callable[[Path], object], told: str
) -> None:
    save_pictures(tmp_path / "given", {"one": pictures(4), "two": pictures(4, seed=1)})
    lay(tmp_path / "given/one")
    before = snapshot(root)
    with pytest.raises(GraftError) as caught:
        take(root, "target", tmp_path / "given")
    assert told in str(caught.value)
    assert snapshot(root) == before


@pytest.mark.parametrize(
    ("path", "told"),
    [("x" * 300, "File name too long"), ("data.dvc/x", "no such file or folder"), ("a\0b", "no such file or folder")],
)
def test_a_path_to_nothing_is_told(root: Path, path: str, told: str) -> None:
    with pytest.raises(GraftError, match=told):
        take(root, "target", root / path)


def test_what_is_there_is_not_replaced_and_edits_are_not_versioned_along(root: Path, photos: Path) -> None:
    take(root, "target", photos)
    with pytest.raises(GraftError, match="data/target exists already"):
        take(root, "target", photos)
    (root / "data/target/train/one/000.png").unlink()
    with pytest.raises(GraftError, match=r"data/ differs from what data.dvc records: 1 removed"):
        take(root, "source", photos)
    assert not (root / "data/source").exists()


def test_what_was_removed_may_be_replaced(root: Path, photos: Path, tmp_path: Path) -> None:
    take(root, "target", photos)
    save_npz(tmp_path / "digits.npz", pictures(20, seed=1))
    take(root, "source", tmp_path / "digits.npz")
    shutil.rmtree(root / "data/source")
    save_npz(tmp_path / "others.npz", pictures(30, seed=7))
    assert take(root, "source", tmp_path / "others.npz").parts["source"].n == 30
    assert compare(root) == "unchanged"
    shutil.rmtree(root / "data")
    with pytest.raises(GraftError, match="data/source exists already"):
        take(root, "source", tmp_path / "others.npz")  # it is what data.dvc records, and came back


def test_a_failure_to_version_takes_the_new_data_back(
    root: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_: Path, _md5: str) -> str:
        raise OSError(28, "No space left on device")

    before = snapshot(root)
    monkeypatch.setattr(adding, "commit", no_room)
    with pytest.raises(OSError, match="No space"):
        take(root, "target", photos)
    assert snapshot(root) == before
    assert not (root / "data").exists()


def test_too_few_labels_are_told_and_no_reason_to_refuse(root: Path, tmp_path: Path) -> None:
    save_pictures(tmp_path / "few", {"one": pictures(2, seed=1), "two": pictures(2, seed=3)})
    card = take(root, "target", tmp_path / "few")
    assert "class 'one' has 1 label," in card.short_of_labels[0]
    assert card.parts["test"].split == "held out"


@pytest.mark.parametrize("inside", [".", ".."])
def test_a_folder_that_holds_the_project_is_refused(root: Path, inside: str) -> None:
    with pytest.raises(GraftError, match="contains this project itself"):
        take(root, "source", root / inside)


def test_links_are_followed_hidden_files_left_out_and_circles_refused(root: Path, photos: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    (linked / "one").mkdir(parents=True)
    (linked / "two").symlink_to(photos / "train/two")
    for path in sorted((photos / "train/one").glob("0*.png")):
        (linked / "one" / path.name).symlink_to(path)
    (linked / "one/.DS_Store").write_text("litter")
    take(root, "target", linked)
    copied = sorted(path for path in (root / "data/target").rglob("*") if path.is_file())
    assert len(copied) == 16
    assert not any(path.is_symlink() for path in copied)
    (linked / "one/circle").symlink_to(linked)
    with pytest.raises(GraftError, match="circle: a link to a folder that contains it"):
        take(root, "source", linked)
    (linked / "one/circle").unlink()
    (linked / "one/gone.png").symlink_to(tmp_path / "gone")
    with pytest.raises(GraftError, match=r"gone\.png: a link to .*, which does not exist"):
        take(root, "source", linked)


def test_what_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(GraftError, match="no such file or folder"):
        take(root, "source", root / "nowhere")
    os.mkfifo(root / "pipe")
    with pytest.raises(GraftError, match="pipe: neither a file nor a folder"):
        take(root, "source", root / "pipe")
    with pytest.raises(GraftError, match="neither data/source nor data/target"):
        card_of(root)


def test_the_contact_sheet_shows_the_pictures_themselves(root: Path, tmp_path: Path) -> None:
    drawn = np.stack([np.full((8, 8, 3), (30 * number, 255 - 30 * number, 60), np.uint8) for number in range(8)])
    save_pictures(tmp_path / "flat", {"one": drawn[:4], "two": drawn[4:]})
    params = (root / "params.yaml").read_text().replace("channels: 1", "channels: 3")
    (root / "params.yaml").write_text(params)
    card = take(root, "source", tmp_path / "flat")
    (path,) = save_sheets(root, card.parts)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape == (2 * 9 + 1, PER_CLASS * 9 + 1, 3)
    np.testing.assert_array_equal(sheet[1:9, 1:9], drawn[0])
    np.testing.assert_array_equal(sheet[10:18, 28:36], drawn[7])
    assert card.parts["source"].content.has_colour


class TestTorchvision:
    @pytest.fixture
    def downloads(self, tmp_path: Path) -> Path:
        """MNIST's files where torchvision looks for them."""
        raw = tmp_path / "downloads/MNIST/raw"
        raw.mkdir(parents=True)
        for split, n in (("train", 30), ("t10k", 20)):
            (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(pictures(n, seed=n, size=28)))
            (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(labels(n, 10)))
        return tmp_path / "downloads"

    def test_a_set_becomes_arrays_with_its_splits_and_class_names(self, root: Path, downloads: Path) -> None:
        card = take(root, "target", "torchvision:MNIST", downloads=downloads)
        assert card.parts["pool"].layout == "npz"
        assert (card.parts["pool"].n, card.parts["test"].n) == (30, 20)
        assert list(card.parts["pool"].classes)[:2] == ["0 - zero", "1 - one"]
        found = np.load(root / "data/target/train.npz")
        np.testing.assert_array_equal(found["images"], pictures(30, seed=30, size=28))
        np.testing.assert_array_equal(found["labels"], labels(30, 10))

    def test_too_large_for_memory_it_becomes_files(
        self, root: Path, downloads: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torchvision_sets, "MOST_BYTES", 1000)
        card = take(root, "target", "torchvision:MNIST", downloads=downloads)
        assert (card.parts["pool"].layout, card.parts["pool"].n) == ("folders", 30)
        with Image.open(root / "data/target/train/3 - three/000003.jpg") as image:
            difference = np.asarray(image.convert("L")).astype(int) - pictures(30, seed=30, size=28)[3]
        assert np.abs(difference).mean() < 4

    def test_usps_is_read_from_the_files_that_torchvision_downloads(self, root: Path, tmp_path: Path) -> None:
        drawn = pictures(20, seed=5, size=16)
        for name in ("usps.bz2", "usps.t.bz2"):
            lines = [
                f"{number % 10 + 1} " + " ".join(f"{k}:{v / 127.5 - 1:.6f}" for k, v in enumerate(picture.flatten(), 1))
                for number, picture in enumerate(drawn if name == "usps.bz2" else 255 - drawn)
            ]
            (tmp_path / name).write_bytes(bz2.compress("\n".join(lines).encode()))
        card = take(root, "source", "torchvision:USPS", downloads=tmp_path)
        assert card.parts["source"].classes == dict.fromkeys(map(str, range(10)), 2)
        found = np.load(root / "data/source/train.npz")
        assert np.abs(found["images"].astype(int) - drawn).max() <= 1, "torchvision rounds down"
        np.testing.assert_array_equal(found["labels"], labels(20, 10))

    def test_an_unknown_name_is_told_the_near_one(self, root: Path) -> None:
        with pytest.raises(GraftError, match="no such data set; did you mean 'USPS'"):
            take(root, "source", "torchvision:USPSS")

    def test_without_a_network_it_says_what_to_do(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_: object, **__: object) -> None:
            raise URLError("Name or service not known")

        monkeypatch.setattr("urllib.request.urlopen", refused)
        before = snapshot(root)
        with pytest.raises(
            AwayError, match=r"torchvision:USPS is not available: .*Name or service not known"
        ) as caught:
            take(root, "source", "torchvision:USPS")
        assert str(root / adding.DOWNLOADS) in caught.value.hint
        assert snapshot(root) == before

    @pytest.mark.parametrize("name", ["EMNIST", "CocoDetection"])
    def test_a_set_that_needs_more_than_a_name_is_refused(self, root: Path, name: str) -> None:
        with pytest.raises(GraftError, match=f"torchvision:{name} needs more than its name"):
            take(root, "source", f"torchvision:{name}")


def test_a_domain_that_is_not_there_is_no_fault_where_that_was_said(root: Path, photos: Path) -> None:
    shutil.copytree(photos, root / "data/target")
    settings = PrepareSettings(image_size=8)
    assert examine(root, settings, places={"source": None}).faults == []
    assert [fault.path for fault in examine(root, settings).faults] == ["data/source"]


def test_a_leftover_of_a_killed_process_does_no_harm(root: Path, photos: Path) -> None:
    (root / adding.STAGING / "data/target/train/three").mkdir(parents=True)
    assert set(take(root, "target", photos).parts["pool"].classes) == {"one", "two"}
    assert [path.name for path in (root / "data").iterdir()] == ["target"]
