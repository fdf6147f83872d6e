"""Domains in tables of files, and in Parquet as Hugging Face's `datasets` writes it."""

import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.common.errors import GraftError
from tasks.datasets.files.tables import read_table
from tasks.datasets.layouts.domain import Domain
from tasks.datasets.layouts.manifest import Columns
from tasks.datasets.layouts.recognise import open_domain
from tests.tasks.support.raw_data import pictures, save_pictures

DRAWN = pictures(8)
LABELS = ["b", "a", "b", "a", "b", "a", "b", "a"]


def grey(domain: Domain, split: str) -> np.ndarray:
    """All images of a split (N, H, W), as they are read."""
    read = domain.splits[split].read
    return np.stack([np.asarray(read(index, 1)) for index in range(len(domain.splits[split]))])


def named(domain: Domain, split: str) -> list[str]:
    return [domain.classes[label] for label in domain.splits[split].labels]


def faults(root: Path, columns: Columns | None = None) -> str:
    return "\n".join(map(str, open_domain(root, "raw", columns).faults))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight images in a folder, and no table."""
    save_pictures(tmp_path / "raw", {"images": DRAWN})
    return tmp_path


def rows(*cells: tuple[str, ...], sep: str = ",") -> str:
    return "\n".join(sep.join(row) for row in cells) + "\n"


def listed(places: range = range(8), **more: list[str]) -> list[tuple[str, ...]]:
    """A heading and a row an image."""
    cells = {"path": [f"images/{place:03}.png" for place in range(8)], "label": LABELS, **more}
    return [tuple(cells), *(tuple(values[place] for values in cells.values()) for place in places)]


class TestManifests:
    @pytest.mark.parametrize(("name", "sep"), [("any.csv", ","), ("any.csv", ";"), ("any.tsv", "\t")])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_a_table_names_pictures_and_labels(self, root: Path, name: str, sep: str, encoding: str) -> None:
        (root / "raw" / name).write_text(rows(*listed(), sep=sep), encoding=encoding)
        domain = open_domain(root, "raw")
        assert not domain.faults
        assert (domain.layout, domain.classes, list(domain.splits)) == ("manifest", ["a", "b"], ["train"])
        assert named(domain, "train") == LABELS
        np.testing.assert_array_equal(grey(domain, "train"), DRAWN)

    def test_splits_and_domains_are_taken_as_given(self, root: Path) -> None:
        splits = ["train", "train", "test", "test", "Train", "train", "validation", "test"]
        (root / "raw/all.csv").write_text(rows(*listed(split=splits, domain=["x"] * 4 + ["y"] * 4)))
        domain = open_domain(root, "raw", Columns(domain="y"))
        assert not domain.faults
        np.testing.assert_array_equal(grey(domain, "train"), DRAWN[4:7])
        np.testing.assert_array_equal(grey(domain, "test"), DRAWN[7:])
        assert domain.validation == "joined to train"
        assert "several domains: x, y; choose one with" in faults(root)
        assert "no domain 'z'; found x, y" in faults(root, Columns(domain="z"))

    def test_a_table_for_each_split(self, root: Path) -> None:
        (root / "raw/train.csv").write_text(rows(*listed(range(5))))
        (root / "raw/dev.csv").write_text(rows(*listed(range(5, 8))))
        domain = open_domain(root, "raw")
        assert not domain.faults
        np.testing.assert_array_equal(grey(domain, "test"), DRAWN[5:])
        assert domain.validation == "taken as test"

    def test_columns_of_other_names_and_groups(self, root: Path) -> None:
        patients = ["p", "p", "q", "q", "r", "r", "s", "s"]
        text = rows(*listed(patient=patients)).replace("path,label", "file,Diagnosis")
        (root / "raw/all.csv").write_text(text)
        domain = open_domain(root, "raw", Columns(label="Diagnosis", group="patient"))
        assert not domain.faults
        assert domain.splits["train"].groups == patients
        assert "no column for the label (label or class or category); found file, Diagnosis, patient" in faults(root)
        assert "no column 'who' (prepare.*_group_column)" in faults(root, Columns("", "Diagnosis", "who"))
        (root / "raw/all.csv").write_text(text.replace(",q\n", ",\n", 1))
        assert faults(root, Columns("", "Diagnosis", "patient")) == "raw/all.csv:4: no patient"

    def test_files_that_no_table_mentions_are_counted(self, root: Path) -> None:
        (root / "raw/all.csv").write_text(rows(*listed(range(6))).replace("images/000", "./images/000"))
        domain = open_domain(root, "raw")
        assert (domain.faults, domain.ignored) == ([], 2)
        domains = rows(*listed(domain=["x", "y"] * 4))
        (root / "raw/all.csv").write_text(domains)
        assert open_domain(root, "raw", Columns(domain="x")).ignored == 0, "the others are of another domain"

    def test_all_that_is_wrong_with_its_rows_is_told_with_the_lines(self, root: Path) -> None:
        (root / "secret.png").write_bytes((root / "raw/images/000.png").read_bytes())
        (root / "raw/link").symlink_to(root)
        wrong = [
            ("images/000.png", "a", "train"),
            ("../secret.png", "a", "train"),
            (str(root / "secret.png"), "a", "train"),
            ("link/secret.png", "a", "train"),
            ("images/001.png", "", "train"),
            ("images/002.png", "a", "tomorrow"),
            ("images/000.png", "b", "test"),
            ("", "a", "train"),
        ]
        (root / "raw/all.csv").write_text(rows(("path", "label", "split"), *wrong))
        said = faults(root)
        assert "raw/all.csv:3: '../secret.png' is not a path below raw" in said
        assert f"raw/all.csv:4: '{root}/secret.png' is not a path below raw" in said
        assert "raw/all.csv:5: link/secret.png is a link to a file outside raw" in said
        assert "raw/all.csv:6: no label" in said
        assert "raw/all.csv:7: 'tomorrow' is not a split; valid: train, val, test" in said
        assert "raw/all.csv:8: images/000.png is on line 2 too" in said
        assert "raw/all.csv:9: no path" in said
        assert len(said.splitlines()) == 7

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"path,label\none.png,a,b\n", "line 2: 3 cells, but 2 headings"),
            (b"path,label\n\xff\xfe,a\n", "line 2: not UTF-8 (byte 0xff)"),
            (b"path,label\none\0.png,a\n", "line 2: a null byte"),
            (b'path,label\n"one.png,a\n', "line 2: unexpected end of data"),
            (b"path,label,label\n", "line 1: repeated headings: label"),
            (b"path,,label\n", "line 1: heading 2 is empty"),
            (b"path,label\n", "no training images"),
            (b"path;label\n", "no training images"),
        ],
    )
    def test_what_is_no_table_is_refused(self, root: Path, content: bytes, message: str) -> None:
        (root / "raw/all.csv").write_bytes(content)
        assert message in faults(root)

    def test_a_stray_table_beside_folders_of_classes_is_left_out(self, root: Path) -> None:
        (root / "raw/notes.csv").write_text("who,when\nme,today\n")
        assert open_domain(root, "raw").layout == "folders"

    @given(st.binary(max_size=300))
    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_any_bytes_give_faults_and_no_exception(self, root: Path, content: bytes) -> None:
        (root / "raw/all.csv").write_bytes(b"path,label\n" + content)
        open_domain(root, "raw")

    @given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), min_size=1, max_size=5))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_what_csv_writes_is_read_again(self, tmp_path: Path, cells: list[list[str]]) -> None:
        import csv

        path = tmp_path / "t.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["x", "y"], *cells])
        try:
            _, found = read_table(path)
        except GraftError as error:
            assert any("\0" in cell for row in cells for cell in row), error
            return
        expected = [[cell.strip() for cell in row] for row in cells if any(row)]
        assert [[row.cells["x"], row.cells["y"]] for row in found] == expected


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def save_parquet(path: Path, places: range, names: list[str] | None = None, **columns: list[object]) -> None:
    """As `Dataset.to_parquet` does it: encoded images with their paths, integer labels, features in the schema."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = names or ["b", "a"]
    table = pa.table(
        {
            "image": [{"bytes": png(DRAWN[place]), "path": None} for place in places],
            "label": [names.index(LABELS[place]) for place in places],
            **columns,
        }
    )
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=3)


class TestParquet:
    def test_shards_of_splits(self, tmp_path: Path) -> None:
        for shard, places in enumerate((range(3), range(3, 5))):
            save_parquet(tmp_path / f"raw/data/train-0000{shard}-of-00002.parquet", places)
        save_parquet(tmp_path / "raw/data/validation-00000-of-00001.parquet", range(5, 8))
        domain = open_domain(tmp_path, "raw")
        assert not domain.faults
        assert (domain.layout, domain.classes, domain.validation) == ("parquet", ["a", "b"], "taken as test")
        np.testing.assert_array_equal(grey(domain, "train"), DRAWN[:5])
        np.testing.assert_array_equal(grey(domain, "test"), DRAWN[5:])
        assert named(domain, "train") == LABELS[:5]
        assert domain.splits["train"].names[3] == "raw/data/train-00001-of-00002.parquet[0]"

    def test_domains_and_groups_are_columns(self, tmp_path: Path) -> None:
        domains, groups = ["x", "y"] * 4, [str(place // 4) for place in range(8)]
        save_parquet(tmp_path / "raw/train.parquet", range(8), domain=domains, patient=groups)
        domain = open_domain(tmp_path, "raw", Columns("y", "", "patient"))
        assert not domain.faults
        np.testing.assert_array_equal(grey(domain, "train"), DRAWN[1::2])
        assert domain.splits["train"].groups == ["0", "0", "1", "1"]
        assert "no row has the domain 'z'" in faults(tmp_path, Columns("z"))
        save_parquet(tmp_path / "raw/train.parquet", range(8), domain=domains, patient=["1", None] * 4)
        assert "4 rows without patient, first row 1" in faults(tmp_path, Columns("y", "", "patient"))
        assert not open_domain(tmp_path, "raw", Columns("x", "", "patient")).faults

    @pytest.mark.parametrize("name", ["data/{}-00000-of-00001-0123456789abcdef.parquet", "{}/0000.parquet"])
    def test_names_that_the_hub_gives(self, tmp_path: Path, name: str) -> None:
        save_parquet(tmp_path / "raw" / name.format("train"), range(5))
        save_parquet(tmp_path / "raw" / name.format("test"), range(5, 8))
        domain = open_domain(tmp_path, "raw")
        assert not domain.faults
        np.testing.assert_array_equal(grey(domain, "train"), DRAWN[:5])
        np.testing.assert_array_equal(grey(domain, "test"), DRAWN[5:])

    def test_of_the_file_and_its_folder_the_folder_says_the_split(self, tmp_path: Path) -> None:
        save_parquet(tmp_path / "raw/train/train.parquet", range(5))
        save_parquet(tmp_path / "raw/test/train.parquet", range(5, 8))
        (tmp_path / "raw/test/.hidden.parquet").write_bytes(b"")
        domain = open_domain(tmp_path, "raw")
        assert not domain.faults
        np.testing.assert_array_equal(grey(domain, "test"), DRAWN[5:])
        (tmp_path / "raw").rename(tmp_path / "dev")
        shutil.rmtree(tmp_path / "dev/test")
        (tmp_path / "dev/train/train.parquet").rename(tmp_path / "dev/0000.parquet")
        assert list(open_domain(tmp_path, "dev").splits) == ["train"], "the folder of a domain may be called so"

    def test_a_parquet_beside_folders_of_classes_is_no_domain(self, tmp_path: Path) -> None:
        save_pictures(tmp_path / "raw", {"train/a": DRAWN[:2], "train/b": DRAWN[2:4]})
        save_parquet(tmp_path / "raw/train/metadata.parquet", range(4))
        assert open_domain(tmp_path, "raw").layout == "folders"

    def test_a_folder_of_a_split_that_is_a_link_is_refused(self, tmp_path: Path) -> None:
        save_parquet(tmp_path / "elsewhere/0000.parquet", range(8))
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw/train").symlink_to(tmp_path / "elsewhere")
        assert "raw/train: a link to" in faults(tmp_path)

    def test_a_table_of_others_with_labels_in_words(self, tmp_path: Path) -> None:
        (tmp_path / "raw").mkdir()
        pq.write_table(pa.table({"image": [png(p) for p in DRAWN], "label": LABELS}), tmp_path / "raw/0000.parquet")
        domain = open_domain(tmp_path, "raw")
        assert not domain.faults
        assert named(domain, "train") == LABELS

    def test_what_is_wrong_is_named(self, tmp_path: Path) -> None:
        save_parquet(tmp_path / "raw/train.parquet", range(8))
        good = (tmp_path / "raw/train.parquet").read_bytes()
        (tmp_path / "raw/test.parquet").write_bytes(good[: len(good) // 2])
        (tmp_path / "raw/later.parquet").write_bytes(good)
        said = faults(tmp_path)
        assert "raw/test.parquet: cannot be read as Parquet; it is probably truncated or damaged" in said
        assert "raw/later.parquet: not a split" in said
        assert "no column 'kind' (prepare.*_label_column)" in faults(tmp_path, Columns(label="kind"))

    @given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_damaged_bytes_give_faults_and_no_other_exception(self, tmp_path: Path, place: int, new: bytes) -> None:
        path = tmp_path / "raw/train.parquet"
        save_parquet(path, range(8))
        content = bytearray(path.read_bytes())
        start = math.floor(place / 400 * (len(content) - len(new)))
        content[start : start + len(new)] = new
        path.write_bytes(content)
        domain = open_domain(tmp_path, "raw")
        assert domain.faults or domain.splits


class TestFoldersOfDomains:
    def test_one_is_chosen(self, tmp_path: Path) -> None:
        tree = {f"{domain}/{split}/{name}": DRAWN[k : k + 1] for k, (domain, split, name) in enumerate(
            (domain, split, name) for domain in ("art", "photo") for split in ("train", "test") for name in "ab"
        )}  # fmt: skip
        save_pictures(tmp_path / "raw", tree)
        domain = open_domain(tmp_path, "raw", Columns(domain="photo"))
        assert not domain.faults
        assert (domain.path, domain.classes) == ("raw/photo", ["a", "b"])
        np.testing.assert_array_equal(grey(domain, "train"), DRAWN[4:6])
        assert "raw: several domains: art, photo; choose one with" in faults(tmp_path)
        assert "raw: no domain 'sketch'; found art, photo" in faults(tmp_path, Columns(domain="sketch"))

    def test_a_layout_without_domains_has_none_to_choose(self, root: Path) -> None:
        assert "is not divided into domains, so has no 'photo'" in faults(root, Columns(domain="photo"))
