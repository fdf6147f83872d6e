"""Broken and hostile files: told by file and reason, or skipped; never a trace, a hang, or half of an output.

`python -m benchmarks.fuzz` tries many more of the same.
"""

import gzip
import io
import os
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.breaking import KINDS, make_project
from benchmarks.fuzz import GOOD, judge
from tasks.common.errors import GraftError
from tasks.common.yaml_files import load_yaml
from tasks.datasets import pictures
from tasks.datasets.files.arrays import read_idx, read_npz
from tasks.datasets.files.tables import read_table
from tasks.datasets.layouts.recognise import open_domain
from tasks.datasets.limits import MOST_ARRAY, MOST_DEPTH, MOST_PICTURES, MOST_TABLE
from tasks.datasets.pictures import UnreadableError, read_picture
from tests.tasks.support.raw_data import pictures as drawn
from tests.tasks.support.raw_data import save_npz, save_pictures

LIGHT = [kind for kind in KINDS if kind != "image, huge or a bomb"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", LIGHT)
def test_whatever_is_broken_is_told_or_skipped_or_does_no_harm(tmp_path: Path, kind: str, seed: int) -> None:
    make_project(tmp_path)
    KINDS[kind][1](tmp_path, random.Random(f"{kind} {seed}"))
    outcome, text = judge(tmp_path, skip=bool(seed % 2))
    assert outcome in GOOD, text


def test_the_projects_that_are_broken_are_faultless_before(tmp_path: Path) -> None:
    make_project(tmp_path)
    assert judge(tmp_path, skip=False)[0] == "harmless"


def claim(path: Path, key: str, shape: tuple[int, ...], method: int = zipfile.ZIP_STORED) -> None:
    """An NPZ file of which one array says that it is of some shape."""
    save_npz(path, drawn(4))
    arrays = dict(np.load(path))
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape if name == key else array.shape}
            np.lib.format.write_array_header_1_0(file, header)
            archive.writestr(f"{name}.npy", file.getvalue() + array.tobytes())


@pytest.mark.parametrize(
    ("key", "shape", "told"),
    [
        ("images", (MOST_ARRAY, 8, 8), f"at most {MOST_ARRAY:,}"),
        ("images", (MOST_PICTURES + 1, 1, 1), "the file holds"),
        ("labels", (4000,), "needs 32,000 bytes"),
        ("class_names", (1 << 40,), f"at most {MOST_ARRAY:,}"),
    ],
)
def test_an_array_that_claims_too_much_is_refused_before_memory_is_taken(
    tmp_path: Path, key: str, shape: tuple[int, ...], told: str
) -> None:
    claim(tmp_path / "a.npz", key, shape)
    with pytest.raises(GraftError, match=f"{key}: .*{told}"):
        read_npz(tmp_path / "a.npz")


def test_an_archive_packed_in_another_way_or_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    claim(tmp_path / "a.npz", "", (), zipfile.ZIP_LZMA)
    with pytest.raises(GraftError, match="compressed with a method that NumPy does not use"):
        read_npz(tmp_path / "a.npz")
    claim(tmp_path / "b.npz", "", ())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "b.npz", "a") as archive:
        archive.writestr("labels.npy", b"")
    with pytest.raises(GraftError, match="labels: is in the archive 2 times"):
        read_npz(tmp_path / "b.npz")


def test_a_gzip_that_unpacks_to_more_than_it_says_is_read_no_further(tmp_path: Path) -> None:
    header = struct.pack(">4B3I", 0, 0, 8, 3, 1, 2, 2)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(header + bytes(50_000_000)))
    with pytest.raises(GraftError, match="needs 4 bytes, more follow"):
        read_idx(path, 3)
    path.write_bytes(gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 1 << 31, 60_000, 60_000)))
    with pytest.raises(GraftError, match=f"at most {MOST_ARRAY:,}"):
        read_idx(path, 3)


def test_a_table_as_large_as_memory_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    os.truncate(tmp_path / "a.csv", MOST_TABLE + 1)
    with pytest.raises(GraftError, match=f"at most {MOST_TABLE:,}"):
        read_table(tmp_path / "a.csv")


def test_pipes_deep_folders_and_names_that_are_no_text_are_faults(tmp_path: Path) -> None:
    save_pictures(tmp_path / "raw", {"one": drawn(2), "two": drawn(2, seed=1)})
    os.mkfifo(tmp_path / "raw/one/pipe.png")
    (tmp_path / "raw/one/link.png").symlink_to("link.png")
    (tmp_path / "raw/two" / "/".join("d" * (MOST_DEPTH + 2))).mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(tmp_path / "raw/one") + b"/\xff.png")).touch()
    told = "\n".join(map(str, open_domain(tmp_path, "raw").faults))
    assert "raw/one/pipe.png: neither a file nor a folder" in told
    assert "raw/one/link.png: a link to link.png" in told
    assert "folders deep" in told
    assert r"'\udcff.png': its name is not UTF-8" in told
    with pytest.raises(UnreadableError, match="a pipe"):
        read_picture(tmp_path / "raw/one/pipe.png", 1)


def test_a_pipe_in_the_place_of_a_table_or_an_array_does_not_hold_anyone_up(tmp_path: Path) -> None:
    for name in ("a.csv", "train.npz", "train.parquet", "train-images-idx3-ubyte"):
        folder = tmp_path / name.replace(".", "-")
        save_pictures(folder, {"one": drawn(1), "two": drawn(1, seed=1)})
        os.mkfifo(folder / name)
        open_domain(tmp_path, folder.name)


def test_large_pictures_are_read_as_small_ones_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(drawn(1, size=50)[0]).save(tmp_path / "a.png")
    before = read_picture(tmp_path / "a.png", 3)
    monkeypatch.setattr(pictures, "LARGE_PIXELS", 10)
    assert read_picture(tmp_path / "a.png", 3).tobytes() == before.tobytes()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)), "values"),
        ("a: &a [*a]\n", "values"),
        ("[" * 5000, "nested too deeply"),
        ("a: 2026-02-30\n", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ('a: "x\\0y"\n', "null byte"),
        ("a: !!timestamp 'x'\n", "not valid YAML"),
        ("a: !!int ''\n", "not valid YAML"),
    ],
)
def test_a_settings_file_made_to_harm_its_reader_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(GraftError, match=rf"params.yaml: .*{told}"):
        load_yaml(tmp_path / "params.yaml")


def test_a_folder_in_the_place_of_a_settings_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").mkdir()
    with pytest.raises(GraftError, match=r"params\.yaml: cannot be read"):
        load_yaml(tmp_path / "params.yaml")
