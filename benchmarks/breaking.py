"""Small valid projects, and ways to break one thing in them: at random, but seeded."""

import gzip
import io
import json
import os
import random
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from benchmarks.projects import ROOT, set_parameters
from tasks.common.yaml_files import load_yaml

SETTINGS = ("params.yaml", "mlflow.yaml", "prefect.yaml")
HUGE = (1 << 31) - 1

Break = Callable[[Path, random.Random], None]
"""Breaks something in a valid project."""


def make_project(root: Path) -> None:
    """Source and target as images in folders, and the settings of this project."""
    noise = np.random.RandomState(0).randint(0, 256, (32, 8, 8, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        domain, split = ("source", "train") if number < 12 else ("target", "train" if number < 24 else "test")
        folder = root / "data" / domain / split / ("one", "two")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    (root / "data.dvc").write_text("outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: data\n")
    for name in SETTINGS:
        shutil.copy(ROOT / name, root / name)


def some_picture(root: Path, chance: random.Random) -> Path:
    """One of the project's images."""
    return chance.choice(sorted((root / "data").rglob("*.png")))


def replaced_picture(root: Path, chance: random.Random, content: bytes) -> None:
    """Replace an image file's bytes."""
    some_picture(root, chance).write_bytes(content)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The bytes cut off, overwritten, zeroed, or with other bytes inserted."""
    how, place = chance.randrange(5), chance.randrange(max(1, len(content)))
    if how == 0:
        return content[:place]
    if how == 1:
        changed = bytearray(content)
        for _ in range(chance.choice((1, 3, 30))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed)
    if how == 2:
        return content[:place] + chance.randbytes(chance.randrange(1, 40)) + content[place:]
    if how == 3:
        return content[:place] + bytes(min(8, len(content) - place)) + content[place + 8 :]
    return content[:place] + b"\xff" * 4 + content[place + 4 :]


def encoded(chance: random.Random, size: int = 40) -> bytes:
    """A valid image in one of many formats."""
    form = chance.choice(("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"))
    mode = chance.choice(("L", "RGB", "P", "1", *(("RGBA", "LA") if form in ("PNG", "TIFF") else ())))
    pixels = np.frombuffer(chance.randbytes(size * size * 3), np.uint8).reshape(size, size, 3)
    image = Image.fromarray(pixels).convert(mode if form not in ("JPEG", "WEBP") or mode in ("L", "RGB") else "RGB")
    file = io.BytesIO()
    options = {"compression": chance.choice(("raw", "tiff_lzw", "tiff_deflate"))} if form == "TIFF" else {}
    image.save(file, form, **options)
    return file.getvalue()


def picture_damaged(root: Path, chance: random.Random) -> None:
    """An image of any format, damaged."""
    replaced_picture(root, chance, damaged(encoded(chance), chance))


def picture_of_wrong_type(root: Path, chance: random.Random) -> None:
    """A file that is not an image of a supported format."""
    options = (b"", b"hello\n", b"\0" * 100, b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
               gzip.compress(b"x" * 1000), b"PK\x03\x04" + bytes(30), chance.randbytes(500))  # fmt: skip
    replaced_picture(root, chance, chance.choice(options))


def png(width: int, height: int, rows: bytes, depth: int = 8, kind: int = 0) -> bytes:
    """A PNG with any header and data."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def picture_bomb(root: Path, chance: random.Random) -> None:
    """A small file with a huge image, or one that claims to be."""
    how = chance.randrange(6)
    if how == 0:
        sizes = [chance.choice((0, 1, 9000, 65535, 1 << 20, HUGE)) for _ in range(2)]
        content = png(*sizes, zlib.compress(bytes(1000)), chance.choice((1, 8, 16)), chance.choice((0, 2, 6)))
    elif how == 1:
        side = chance.choice((8000, 9000, 15000))
        content = png(side, side, zlib.compress(bytes(side * (side // 8 + 1)), 9), depth=1)
    elif how == 2:
        side = chance.choice((4000, 7000))
        content = png(side, side, zlib.compress(bytes(side * (2 * side + 1)), 1), depth=16)
    elif how == 3:
        file = io.BytesIO()
        side = chance.choice((3000, 8000, 12000))
        Image.new("L", (side, side)).save(file, "TIFF", compression=chance.choice(("tiff_deflate", "packbits")))
        content = file.getvalue()
    elif how == 4:
        text = struct.pack(">I", 0)  # a compressed text of 100 MB in a chunk of its own
        content = png(8, 8, zlib.compress(bytes(72)))
        body = b"zTXt" + b"k\0\0" + zlib.compress(bytes(100_000_000))
        text = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        content = content[:33] + text + content[33:]
    else:
        file = io.BytesIO()
        Image.new("RGBA", (7000, 7000)).save(file, "PNG")
        content = file.getvalue()
    replaced_picture(root, chance, content)


def picture_of_odd_values(root: Path, chance: random.Random) -> None:
    """Floats, NaN and 32-bit integers."""
    file = io.BytesIO()
    values = chance.choice((np.nan, np.inf, -1.0, 1e30, 70000))
    kind = chance.choice((np.float32, np.int32))
    with np.errstate(all="ignore"):
        Image.fromarray(np.full((9, 9), values).astype(kind)).save(file, "TIFF")
    replaced_picture(root, chance, file.getvalue())


def emptied(root: Path, domain: str = "target") -> Path:
    """A domain's folder with nothing in it."""
    folder = root / "data" / domain
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


def npz_arrays(chance: random.Random) -> dict[str, np.ndarray]:
    """The arrays of a valid file."""
    images = np.frombuffer(chance.randbytes(20 * 64), np.uint8).reshape(20, 8, 8)
    return {"images": images, "labels": np.arange(20) % 2, "class_names": np.array(["one", "two"])}


def npz_damaged(root: Path, chance: random.Random) -> None:
    """An NPZ file, cut off or overwritten."""
    file = io.BytesIO()
    chance.choice((np.savez, np.savez_compressed))(file, **npz_arrays(chance))
    (emptied(root) / "train.npz").write_bytes(damaged(file.getvalue(), chance))


def npz_of_wrong_arrays(root: Path, chance: random.Random) -> None:
    """Arrays of other types, shapes, values and names."""
    arrays = npz_arrays(chance)
    key = chance.choice(sorted(arrays))
    wrong: list[Any] = [
        np.array(1), np.array([]), np.zeros((20, 8)), np.full(20, np.nan), np.full(20, -1), np.full(20, 1 << 40),
        np.array([None] * 20, dtype=object), np.array(["one"] * 20), np.array([b"a", b"b"]), np.zeros((20, 8, 8, 2)),
        np.zeros((20, 0, 8), np.uint8), np.zeros((0, 8, 8), np.uint8), np.array(["one", "one"]), np.array(["", "\0"]),
        np.zeros(20, dtype=[("a", "i4")]), np.arange(20).astype("datetime64[D]"), np.zeros((20, 8, 8), complex),
    ]  # fmt: skip
    arrays[key] = chance.choice(wrong)
    if chance.random() < 0.2:
        del arrays[key]
    np.savez(emptied(root) / "train.npz", **arrays)


def npz_bomb(root: Path, chance: random.Random) -> None:
    """Arrays that are, or claim to be, larger than memory."""
    folder, arrays = emptied(root), npz_arrays(chance)
    key = chance.choice(sorted(arrays))
    shape = chance.choice(
        ((HUGE, 1000, 1000), (1 << 62,), (1 << 40, 8, 8), (3_000_000, 1, 1), (700_000_000,), (-5, 8, 8))
    )
    kind = {"images": "|u1", "labels": "<i8", "class_names": "<U100000000"}[key]
    method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
    with zipfile.ZipFile(folder / "train.npz", "w", method) as archive:
        for name, array in arrays.items():
            file = io.BytesIO()
            if name == key:
                np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
                file.write(bytes(chance.choice((0, 1000, 3_000_000))))
            else:
                np.lib.format.write_array(file, array)
            archive.writestr(f"{name}.npy", file.getvalue())
        if chance.random() < 0.3:
            archive.writestr("../../escaped.txt", "out")
            archive.writestr("/tmp/escaped.txt", "out")


def idx_broken(root: Path, chance: random.Random) -> None:
    """MNIST's files: damaged, with other counts than they state, or expanding to more than memory."""
    folder, packed = emptied(root), chance.random() < 0.6
    count = chance.choice((20, 20, 0, 21, HUGE, 3_000_000))
    sides = chance.choice(((8, 8), (8, 8), (0, 8), (60_000, 60_000)))
    images = struct.pack(">4B3I", 0, 0, chance.choice((8, 8, 8, 13)), 3, count, *sides) + chance.randbytes(20 * 64)
    labels = struct.pack(">4BI", 0, 0, 8, 1, 20) + bytes(i % 2 for i in range(20))
    for name, content in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        stream = gzip.compress(content) if packed else content
        if packed and chance.random() < 0.2:
            stream = gzip.compress(content + bytes(100_000_000))
        if chance.random() < 0.4:
            stream = damaged(stream, chance)
        (folder / (name + ".gz" * packed)).write_bytes(stream)


def manifest_broken(root: Path, chance: random.Random) -> None:
    """A table that points elsewhere, is in another encoding, or is not a table."""
    folder = root / "data/target"
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.png"))]
    rows = [[name, name.split("/")[1], name.split("/")[0]] for name in files]
    row = chance.choice(rows)
    cells = ("", "../source/train/one/00.png", "/etc/passwd", "..\\x.png", "C:\\x.png", "no.png", "a\0b.png",
             "x" * 5000, "train", ".", "train/one/../one/12.png", '"', "nan", "\ud7ff", "//etc//passwd", "~/x.png",
             "%2e%2e/x.png",
             "\u202egnp.exe", files[0])  # fmt: skip
    row[chance.choice((0, 0, 0, 1, 2))] = chance.choice(cells)
    lines = ["path,label,split", *(",".join(row) for row in rows)]
    how = chance.randrange(10)
    if how == 0:
        lines[0] = chance.choice(
            ("path,path,label", "path", ",label", "path,label,", "", "label,split,other", "path;label")
        )
    if how == 1:
        lines.insert(3, chance.choice(("a,b", "a,b,c,d,e", '"open', ",,", "\0", "a" * 2_000_000)))
    text = "\n".join(lines) + "\n"
    encoding = chance.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "cp037"))
    content = text.encode(encoding, "replace")
    if how == 2:
        content = text.replace("one", "één").encode("latin-1", "replace")
    (folder / "all.csv").write_bytes(damaged(content, chance) if how > 7 else content)


def parquet_broken(root: Path, chance: random.Random) -> None:
    """A Parquet file: damaged, with other types, with empty cells, or with more data than fits into memory."""
    import pyarrow as pa
    from pyarrow import parquet

    folder, how = emptied(root), chance.randrange(6)
    pictures: list[Any] = [{"bytes": png(8, 8, zlib.compress(chance.randbytes(72))), "path": None} for _ in range(20)]
    labels: list[Any] = [("one", "two")[i % 2] for i in range(20)]
    if how == 0:
        odd = (None, {"bytes": None, "path": "x"}, {"bytes": b""}, {"bytes": b"no"})
        pictures[chance.randrange(20)] = chance.choice(odd)
    elif how == 1:
        labels = chance.choice(([None] * 20, [float("nan")] * 20, list(range(20)), [["a"]] * 20, [b"\xff"] * 20))
    elif how == 2:
        pictures = chance.choice((list(range(20)), ["text"] * 20, [b"bytes"] * 20, [{"path": "x"}] * 20))
    table = pa.table({"image": pictures, chance.choice(("label", "label", "other")): labels})
    if how == 3:
        column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(6_000_000, np.int32)), ["one"])
        table = pa.table({"image": column, "label": column})
    file = io.BytesIO()
    if how == 3 or chance.random() < 0.5:
        parquet.write_table(table, file, compression="zstd")
    else:
        parquet.write_table(table, file, row_group_size=7)
    content = file.getvalue()
    name = chance.choice(("train.parquet", "train-00000-of-00001.parquet", "odd.parquet"))
    (folder / name).write_bytes(damaged(content, chance) if how > 3 else content)


def folders_broken(root: Path, chance: random.Random) -> None:
    """Folders with content that no folder of images should have."""
    folder = root / "data/target/train/one"
    how = chance.randrange(11)
    if how == 0:
        os.mkfifo(folder / "pipe.png")
    elif how == 1:
        (folder / "link.png").symlink_to(chance.choice(("/etc/passwd", "/dev/zero", "link.png", "nowhere", "../../..")))
    elif how == 2:
        (folder / "/".join("d" * chance.choice((40, 900)))).mkdir(parents=True)
    elif how == 3:
        Path(os.fsdecode(os.fsencode(root / "data/target/train") + b"/\xff\xfe")).mkdir()
    elif how == 4:
        shutil.copy(some_picture(root, chance), os.fsencode(folder) + b"/\xe9\n\x1b[31m.png")
    elif how == 5:
        shutil.rmtree(folder)
        folder.write_text("a file")
    elif how == 6:
        shutil.rmtree(root / chance.choice(("data", "data/target", "data/source", "data/target/train")))
    elif how == 7:
        os.mkfifo(root / "data/target" / chance.choice(("train.npz", "train.csv", "train.parquet")))
    elif how == 8:
        (folder / "dir.png").mkdir()
    elif how == 9:
        (folder.parent / "empty").mkdir()
    else:
        (root / "data/target" / chance.choice(("train.npz", "a.csv", "x.parquet", "t10k-images-idx3-ubyte"))).mkdir()


def settings_text_broken(root: Path, chance: random.Random) -> None:
    """A settings file whose text is damaged or malicious."""
    path = root / chance.choice(SETTINGS)
    content = path.read_bytes()
    laughs = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)).encode()
    harmful = (
        b"", b"\0", b"\xff\xfe", b"[" * 5000, b"{" * 5000, b"a: " * 3000, b"- " * 3000, b"a: &a [*a]\n",
        b"? [a]\n: b\n", b"a0: &a0 [1]\n" + laughs, b"<<: *x\n", b"!!python/object/apply:os.system ['true']\n",
        b"a: 2026-02-30\n",
        b"seeds: [" + b"9" * 5000 + b"]\n", b"text\n", b"- 1\n", b"1\n", b"null\n", b"a: !!binary '?'\n",
        b"%YAML 9.9\n---\n", b"a: 1\na: 2\n", b"--- 1\n--- 2\n", b"a: !!float 'x'\n", b"a: !!timestamp 'x'\n",
        b"a: !!set {b}\n", b"\t- a\n",
        b"prepare: &p {<<: *p}\n", b"a: !!int ''\n", b"a: !!omap [b]\n", b"a: 1e999999999\n", b"a: 0x\n",
        b"a: 1:99:99\n",
    )  # fmt: skip
    how = chance.randrange(4)
    if how == 0:
        content = damaged(content, chance)
    elif how == 1:
        content = content + chance.choice(harmful)
    elif how == 2:
        content = chance.choice(harmful)
    else:
        content = content.decode().encode(chance.choice(("utf-16", "utf-32", "cp037")), "replace")
    path.write_bytes(content)


def settings_value_broken(root: Path, chance: random.Random) -> None:
    """A settings file with an invalid value or an unknown key."""
    path = root / chance.choice(SETTINGS)
    content = deepcopy(load_yaml(path))
    values: list[Any] = [
        None, True, -1, 0, 10**30, 1.5, float("nan"), float("inf"), -float("inf"), "", "x", "../..", "/etc", "\0",
        "1e3", "é" * 3000, [], [1], [None], [[1]], {}, {"a": 1}, {"source": "data/x"}, [float("nan")],
        "data/../..",
    ]  # fmt: skip
    place: Any = content
    for _ in range(chance.randrange(4)):
        inner = [
            value for value in (place.values() if isinstance(place, dict) else place) if isinstance(value, dict | list)
        ]
        if not [value for value in inner if value]:
            break
        place = chance.choice([value for value in inner if value])
    key = chance.choice(sorted(place, key=str)) if isinstance(place, dict) else chance.randrange(len(place))
    if isinstance(place, dict) and chance.random() < 0.3:
        place[str(chance.choice(("unknown", "", "é", "a b", key)) + "x")] = place.pop(key)
    else:
        place[key] = chance.choice(values)
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def texts_broken(root: Path, chance: random.Random) -> None:
    """Texts in a table or in JSON lines: damaged, in another encoding, or with odd rows."""
    folder, form = emptied(root), chance.choice(("tsv", "csv", "jsonl"))
    rows: list[list[Any]] = [[("no", "yes")[n % 2], f"word {n} and some more"] for n in range(24)]
    odd = (
        None,
        "",
        "nan",
        1e999,
        -1,
        True,
        [],
        {},
        "\0",
        "\ud800",
        '"',
        "a\tb",
        "x" * 2_000_000,
        "\u202e",
        ["a"],
        10**400,
    )
    for _ in range(chance.choice((0, 1, 3))):
        chance.choice(rows)[chance.randrange(2)] = chance.choice(odd)
    if form == "jsonl":
        keys = chance.choice((("label", "text"), ("label", "text"), ("label", "label"), ("kind", "body")))
        lines = [json.dumps(dict(zip(keys, row, strict=True))) for row in rows]
        lines.insert(3, chance.choice((lines[0], "{", "[1]", "null", "[" * 100_000, '{"label": 1, "label": 2}', "NaN")))
    else:
        mark = "\t" if form == "tsv" else ","
        lines = [f"label{mark}text"] * chance.choice((0, 1)) + [mark.join(map(str, row)) for row in rows]
        lines.insert(3, chance.choice((lines[0], "a", mark * 5, '"open', "", "\r\r", mark)))
    encoding = chance.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "cp037"))
    content = "\n".join(lines).encode(encoding, "replace")
    name = chance.choice((f"train.{form}", f"all.{form}", f"odd.{form}"))
    (folder / name).write_bytes(damaged(content, chance) if chance.random() < 0.4 else content)


def weights_broken(root: Path, chance: random.Random) -> None:
    """A file of weights or its description: damaged, with other shapes and types, or without weights."""
    import torch
    from safetensors.torch import save_file

    from graft.networks.network import Description, Network

    said: dict[str, Any] = {"backbone": "convnet_tiny", "channels": 1, "image_size": 8, "mean": [0.5], "std": [0.5]}
    state: dict[str, Any] = dict(Network(Description("convnet_tiny", ("one", "two"), 1, 8)).state_dict())
    key, how = chance.choice(sorted(state)), chance.randrange(6)
    file = io.BytesIO()
    if how == 0:
        wrong = (torch.zeros(0), torch.tensor(1.0), torch.full((2, 64), torch.nan), state[key].to(torch.complex64),
                 state[key].to_sparse(), state[key].to(torch.int8), torch.zeros(3, 3), "text", None, [1])  # fmt: skip
        state[key] = chance.choice(wrong)
    elif how == 1:
        state.pop(key)
        state[chance.choice(("", "head", "more.weight", "backbone."))] = torch.zeros(2)
    elif how == 2:
        values = (
            None,
            "",
            "resnet",
            -1,
            0,
            10**9,
            1.5,
            [],
            [float("nan")],
            [float("inf")],
            [0.1] * 3,
            ["a", "a"],
            {},
            "x" * 9,
        )
        said[chance.choice((*said, "classes", "prefix", "unknown"))] = chance.choice(values)
    elif how == 3:
        said.pop(chance.choice(sorted(said)))
    content: Any = chance.choice((state, {"state_dict": state}, state, [state], {"model": {"epoch": 1}}, Path("/")))
    suffix = chance.choice((".pth", ".safetensors"))
    if suffix == ".safetensors" and all(isinstance(v, torch.Tensor) and not v.is_sparse for v in state.values()):
        save_file({name: value.contiguous() for name, value in state.items()}, root / "weights.tmp")
        file.write((root / "weights.tmp").read_bytes())
    else:
        torch.save(content, file)
    (root / "weights").mkdir()
    stream = file.getvalue()
    (root / f"weights/given{suffix}").write_bytes(damaged(stream, chance) if how > 3 else stream)
    if chance.random() < 0.9:
        text = yaml.safe_dump(said).encode()
        description = root / f"weights/given{chance.choice(('.yaml', '.yaml', '.json'))}"
        description.write_bytes(damaged(text, chance) if chance.random() < 0.2 else text)
    set_parameters(root, pretrain={"weights": f"weights/given{suffix}", "learn": "nothing"})


def class_map_broken(root: Path, chance: random.Random) -> None:
    """A class map: elsewhere, damaged, or with classes that do not exist."""
    places = (
        "data/classes.csv",
        "data/classes.csv",
        "data/classes.csv",
        "../x.csv",
        "/etc/passwd",
        "data",
        "data/no.csv",
    )
    lines = ["source,target", "one,two", "two,one"]
    lines[chance.randrange(3)] = chance.choice(
        ("", "one", "one,two,three", "one,nobody", "nobody,one", "two,two", ",", "\0,")
    )
    content = "\n".join(lines).encode(chance.choice(("utf-8", "utf-8", "utf-16")))
    (root / "data/classes.csv").write_bytes(damaged(content, chance) if chance.random() < 0.3 else content)
    set_parameters(root, prepare={"class_map": chance.choice(places)})


KINDS: dict[str, tuple[int, Break]] = {
    "image, damaged": (10, picture_damaged),
    "image, wrong type": (4, picture_of_wrong_type),
    "image, huge or a bomb": (5, picture_bomb),
    "image, odd values": (3, picture_of_odd_values),
    "NPZ, damaged": (9, npz_damaged),
    "NPZ, wrong arrays": (8, npz_of_wrong_arrays),
    "NPZ, huge or a bomb": (7, npz_bomb),
    "IDX, damaged, huge or a bomb": (8, idx_broken),
    "table": (12, manifest_broken),
    "Parquet": (10, parquet_broken),
    "texts": (10, texts_broken),
    "folders": (6, folders_broken),
    "weights": (8, weights_broken),
    "class map": (4, class_map_broken),
    "settings, text": (10, settings_text_broken),
    "settings, values": (12, settings_value_broken),
}
"""By name: its relative frequency, and the function that breaks something."""
