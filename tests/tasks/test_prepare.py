"""The prepare stage: raw data in any layout becomes packed splits and a card, the same bytes every time."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.artifacts.splits import load_split
from tasks.common.errors import PERMANENT_FAULT, GraftError
from tasks.common.files import write_json
from tasks.common.places import CARD
from tasks.datasets.card import contact_sheet, duplicates, image_numbers
from tasks.datasets.card_file import read_card
from tasks.prepare import prepare
from tasks.settings.prepare import PrepareSettings
from tests.house.imports import ROOT
from tests.tasks.support.raw_data import good_project, pictures, save_idx, save_npz, save_pictures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return good_project(tmp_path)


def hashes(root: Path) -> dict[str, str]:
    folder = root / "build/data"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def card(root: Path) -> dict:
    return json.loads((root / "build/data/card.json").read_text())


def test_the_packed_splits_hold_the_pictures_with_their_labels(root: Path) -> None:
    prepare(root, PrepareSettings(image_size=8))
    source, pool, test = (load_split(root / "build/data" / name) for name in ("source", "pool", "test"))
    np.testing.assert_array_equal(source.images[:, 0], pictures(20, seed=1))
    np.testing.assert_array_equal(pool.images[:, 0], pictures(24, seed=2)[:16])
    np.testing.assert_array_equal(test.images[:, 0], pictures(24, seed=2)[16:])
    assert source.classes == ("zero", "one")
    assert pool.classes == test.classes == ("one", "two")
    assert source.labels.tolist() == [0, 1] * 10
    assert test.labels.tolist() == [0] * 4 + [1] * 4


def test_pictures_that_cannot_be_read_are_left_out_and_listed_if_asked(root: Path) -> None:
    train = root / "data/target/train/one"
    (train / "000.png").write_bytes((train / "000.png").read_bytes()[:60])
    (root / "data/target/test/two/zzz.png").write_text("not an image")
    with pytest.raises(GraftError, match=r"one/000\.png: cannot be decoded"):
        prepare(root, PrepareSettings(image_size=8))
    prepare(root, PrepareSettings(image_size=8, on_error="skip"))
    pool, test = (load_split(root / "build/data" / name) for name in ("pool", "test"))
    np.testing.assert_array_equal(pool.images[:, 0], pictures(24, seed=2)[1:16])
    np.testing.assert_array_equal(test.images[:, 0], pictures(24, seed=2)[16:])
    assert pool.labels.tolist() == [0] * 7 + [1] * 8
    entries = card(root)["domains"]
    assert [len(entries[name]["skipped"]) for name in ("source", "pool", "test")] == [0, 1, 1]
    assert entries["pool"]["skipped"][0].startswith("data/target/train/one/000.png: cannot be decoded")


def test_skipping_and_parting_off_a_test_split_go_together(root: Path) -> None:
    shutil.rmtree(root / "data/target/test")
    broken = root / "data/target/train/two/003.png"
    broken.write_text("no image")
    prepare(root, PrepareSettings(image_size=8, on_error="skip", test_fraction=0.25))
    found = np.concatenate([load_split(root / "build/data" / name).images[:, 0] for name in ("pool", "test")])
    expected = np.delete(pictures(24, seed=2)[:16], 11, axis=0)
    assert sorted(map(bytes, found)) == sorted(map(bytes, expected))


def test_what_belongs_together_is_never_divided(root: Path) -> None:
    shutil.rmtree(root / "data/target")
    save_pictures(root / "data/target", {"all": pictures(40, seed=5)})
    rows = [f"all/{place:03}.png,{'ab'[place % 2]},p{place // 4}" for place in range(40)]
    (root / "data/target/list.csv").write_text("\n".join(["path,label,patient", *rows]))
    prepare(root, PrepareSettings(image_size=8, target_group_column="patient", test_fraction=0.3))
    drawn = [bytes(picture) for picture in pictures(40, seed=5)]
    patients = [
        {drawn.index(bytes(picture)) // 4 for picture in load_split(root / "build/data" / name).images[:, 0].numpy()}
        for name in ("pool", "test")
    ]
    assert not patients[0] & patients[1]
    assert patients[0] | patients[1] == set(range(10))
    assert len(patients[1]) == 3
    pool = load_split(root / "build/data/pool")
    assert pool.groups is not None
    order = {patient: place for place, patient in enumerate(sorted(patients[0]))}
    found = [order[drawn.index(bytes(picture)) // 4] for picture in pool.images[:, 0].numpy()]
    assert pool.groups.tolist() == found


def test_what_belongs_together_in_the_source_is_told_to_those_that_learn_from_it(root: Path) -> None:
    shutil.rmtree(root / "data/source")
    save_pictures(root / "data/source", {"all": pictures(12, seed=5)})
    rows = [f"all/{place:03}.png,{'ab'[place % 2]},p{place // 4}" for place in range(12)]
    (root / "data/source/list.csv").write_text("\n".join(["path,label,patient", *rows]))
    prepare(root, PrepareSettings(image_size=8, source_group_column="patient"))
    source = load_split(root / "build/data/source")
    assert source.groups is not None
    drawn = [bytes(picture) for picture in pictures(12, seed=5)]
    assert source.groups.tolist() == [drawn.index(bytes(picture)) // 4 for picture in source.images[:, 0].numpy()]
    prepare(root, PrepareSettings(image_size=8))
    assert load_split(root / "build/data/source").groups is None


def test_the_sources_classes_take_the_targets_names(root: Path) -> None:
    prepare(root, PrepareSettings(image_size=8, class_map={"zero": "two"}))
    found = card(root)["classes"]
    assert found == {"shared": ["one", "two"], "source_only": [], "target_only": []}
    labels = load_split(root / "build/data/source").labels.tolist()
    assert labels == [1, 0] * 10, "zero is now two, which comes after one"
    (root / "data/classes.csv").write_text("source,target\nzero,two\n")
    expected = hashes(root)
    prepare(root, PrepareSettings(image_size=8, class_map="data/classes.csv"))
    assert hashes(root) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"nil": "two"}, "the source has no class 'nil'; it has zero, one"),
        ({"zero": "three"}, "the target has no class 'three'; it has one, two"),
        ("../classes.csv", "'../classes.csv' is not a table inside data/"),
        ("data/none.csv", "data/none.csv: cannot be read: No such file or directory"),
        ("data/twice.csv", "data/twice.csv: line 3: class 'zero' is listed twice"),
    ],
)
def test_a_mapping_that_does_not_fit_is_explained(root: Path, given: dict[str, str] | str, message: str) -> None:
    (root / "data/twice.csv").write_text("source,target\nzero,one\nzero,two\n")
    with pytest.raises(GraftError) as caught:
        prepare(root, PrepareSettings(image_size=8, class_map=given))
    assert message in "\n".join(caught.value.problems)


def test_a_validation_split_is_more_to_draw_from_or_the_test_split(root: Path) -> None:
    shutil.copytree(root / "data/target/test", root / "data/target/val")
    for picture in (root / "data/target/val").rglob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(picture))).save(picture)
    prepare(root, PrepareSettings(image_size=8))
    assert (card(root)["domains"]["pool"]["n"], card(root)["domains"]["pool"]["validation"]) == (24, "joined to train")
    shutil.rmtree(root / "data/target/test")
    prepare(root, PrepareSettings(image_size=8))
    domains = card(root)["domains"]
    assert [domains[name]["n"] for name in ("pool", "test")] == [16, 8]
    assert domains["test"]["validation"] == "taken as test"


def test_colour_is_kept_or_made_as_asked(root: Path) -> None:
    colours = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    colours[..., 0] = np.arange(4)[:, None, None] * 50
    save_npz(root / "data/source/train.npz", colours)
    prepare(root, PrepareSettings(image_size=8, channels=3))
    source, pool = (load_split(root / "build/data" / name) for name in ("source", "pool"))
    np.testing.assert_array_equal(source.images.permute(0, 2, 3, 1), colours)
    assert pool.images.shape == (16, 3, 8, 8)
    assert (pool.images[:, 0] == pool.images[:, 2]).all()


def test_pictures_of_any_size_are_packed_in_one(root: Path) -> None:
    save_pictures(root / "data/target", {"train/one/wide": np.full((1, 5, 40), 77, dtype=np.uint8)})
    prepare(root, PrepareSettings(image_size=16))
    pool = load_split(root / "build/data/pool")
    assert pool.images.shape == (17, 1, 16, 16)
    assert any((image == 77).all() for image in pool.images)
    entry = card(root)["domains"]["pool"]
    assert (entry["image_size"], entry["image_size_min"], entry["image_size_max"]) == ([8, 8], [5, 8], [8, 40])


def test_without_a_test_split_one_is_made_and_equal_pictures_stay_together(root: Path) -> None:
    images = np.concatenate([pictures(40, seed=5), pictures(40, seed=5)])
    save_npz(root / "data/target2/train.npz", images)
    prepare(root, PrepareSettings(target="data/target2", image_size=8, test_fraction=0.25, seed=3))
    pool, test = (load_split(root / "build/data" / name) for name in ("pool", "test"))
    assert np.bincount(test.labels).tolist() == [10, 10]
    assert len(pool) + len(test) == 80
    assert not {image.numpy().tobytes() for image in pool.images} & {image.numpy().tobytes() for image in test.images}
    assert sorted(image.numpy().tobytes() for part in (pool, test) for image in part.images) == sorted(
        image.tobytes() for image in images
    )
    entries = card(root)["domains"]
    assert (entries["pool"]["split"], entries["pool"]["duplicates"]) == ("held out", 30)


def test_the_card_tells_what_the_data_is(root: Path) -> None:
    save_idx(root / "data/digits", "train", pictures(20, seed=1))
    (root / "data/target/train/one/.hidden").write_text("x")
    prepare(root, PrepareSettings(source="data/digits", image_size=8))
    told = card(root)
    assert told["data_md5"] == "0123456789abcdef0123456789abcdef.dir"
    assert told["classes"] == {"shared": [], "source_only": ["0", "1"], "target_only": ["one", "two"]}
    source, pool, test = (told["domains"][name] for name in ("source", "pool", "test"))
    assert (source["path"], source["layout"], source["n"], source["split"]) == ("data/digits", "idx", 20, "all")
    assert (pool["layout"], pool["classes"], pool["ignored_files"]) == ("folders", {"one": 8, "two": 8}, 1)
    assert (test["n"], test["split"], test["channels"], test["duplicates"]) == (8, "given", 1, 0)
    scaled = pictures(20, seed=1) / 255
    assert source["mean"] == [pytest.approx(scaled.mean(), abs=1e-6)]
    assert source["std"] == [pytest.approx(scaled.std(), abs=1e-6)]


def test_the_same_data_gives_the_same_bytes_in_another_folder(root: Path, tmp_path: Path) -> None:
    jpegs = pictures(40, seed=8, size=40)
    save_pictures(root / "data/target", {"train/one/more": jpegs[:20], "train/two/more": jpegs[20:]}, ".jpg")
    twin = Path(shutil.copytree(root, tmp_path / "elsewhere/twin"))
    for place in (root, twin):
        prepare(place, PrepareSettings())
    first = hashes(root)
    assert len(first) == 10
    assert hashes(twin) == first
    prepare(root, PrepareSettings())
    assert hashes(root) == first


def test_faults_are_told_together_and_leave_the_last_result_alone(root: Path) -> None:
    prepare(root, PrepareSettings())
    before = hashes(root)
    (root / "data/target/train/one/000.png").write_bytes(b"no image")
    shutil.copy(root / "data/target/train/two/000.png", root / "data/target/test/two/twin.png")
    with pytest.raises(GraftError) as caught:
        prepare(root, PrepareSettings())
    assert len(caught.value.problems) == 2
    assert "graft data check" in caught.value.hint
    assert hashes(root) == before
    assert [path.name for path in (root / "build").iterdir()] == ["data"]


def test_an_empty_split_is_a_fault_like_others(root: Path) -> None:
    save_npz(root / "data/source/train.npz", pictures(0))
    with pytest.raises(GraftError, match="class 'zero' is empty"):
        prepare(root, PrepareSettings())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("prepare: {image_size: 8}", ""),
        ("prepare: {source: ../secrets}", "prepare.source: '../secrets' is not a folder inside data/"),
    ],
    ids=["good", "bad"],
)
def test_the_stage_ends_as_the_executor_expects(root: Path, params: str, message: str) -> None:
    (root / "params.yaml").write_text(params)
    command = [sys.executable, "-m", "tasks.prepare"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (PERMANENT_FAULT if message else 0)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert (root / "build/data/card.json").exists() == (not message)


class TestContactSheet:
    def test_a_row_a_class_with_the_pictures_spread_evenly(self) -> None:
        images = np.arange(12, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 2, 3), dtype=np.uint8)
        sheet = contact_sheet(images, np.array([0] * 10 + [1] * 2), ["a", "b"], per_class=5)
        assert sheet.shape == (2 * 3 + 1, 5 * 4 + 1)
        assert sheet[1, 1::4].tolist() == [0, 2, 4, 6, 8]
        assert sheet[4, 1::4].tolist() == [10, 11, 128, 128, 128]

    def test_colour(self) -> None:
        images = np.zeros((1, 3, 2, 2), dtype=np.uint8)
        images[0, 2] = 9
        sheet = contact_sheet(images, np.array([0]), ["a"], per_class=1)
        assert sheet.shape == (4, 4, 3)
        assert sheet[1, 1].tolist() == [0, 0, 9]
        assert Image.fromarray(sheet).mode == "RGB"


def test_statistics_equal_numpys(tmp_path: Path) -> None:
    images = np.random.RandomState(0).randint(0, 256, (5000, 3, 4, 4), dtype=np.uint8)
    entry = image_numbers(images, np.ones((5000, 2), np.int64))
    np.testing.assert_allclose(entry.mean, (images / 255).mean(axis=(0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(entry.std, (images / 255).std(axis=(0, 2, 3)), atol=1e-6)


def test_repeated_images_are_counted() -> None:
    assert duplicates([b""] * 5000) == 4999
    assert duplicates([b"a", b"b"]) == 0


def test_the_card_is_read_as_it_was_written(root: Path) -> None:
    prepare(root, PrepareSettings(image_size=8))
    assert json.loads(json.dumps(read_card(root).to_json())) == card(root)
    write_json(root / CARD, card(root) | {"schema": 0})
    with pytest.raises(GraftError, match=r"card\.json: has version 0 of its schema, .* reads version 1"):
        read_card(root)
