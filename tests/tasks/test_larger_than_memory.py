"""Packed images that are too many for memory: stages read them from the disk, and memory stays flat."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from graft.data.on_disk import MOST_IN_MEMORY
from tasks.common.files import write_json
from tasks.common.npy import NpyReader, NpyWriter
from tests.house.imports import ROOT

SHAPE = (3, 32, 32)
MANY = MOST_IN_MEMORY // 3072 + 8000
"""Images of 290 MB: more than is kept in memory."""
GROWTH = 100_000
"""Kilobytes by which memory may grow where the images are not kept in it."""
TRAINING = {"steps": 20, "batch_size": 64, "evaluations": 2, "augmentation": {"crop": 2}}

STAGES = """\
import hashlib, json, os, re, sys
from pathlib import Path
from graft.data import on_disk
from tasks.finetune import finetune
from tasks.trials.plan import Entry
from tasks.pretrain import pretrain
from tasks.settings.yaml_sections import read_section
from tasks.settings.pretrain import PretrainSettings
from tasks.stage.process import make_deterministic
from tasks.weights import weights

few, many, most = sys.argv[1:]
on_disk.MOST_IN_MEMORY = int(most)
found = {}
for folder in (few, many):
    os.chdir(folder)
    make_deterministic(0)
    weights(Path())
    pretrain(read_section(Path("params.yaml"), "pretrain", PretrainSettings))
    finetune(Entry("mcc", 0, 0))
    # Not ru_maxrss: a new process begins with that of the one that started it.
    found[folder] = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
made = [Path("build", name, "model.safetensors").read_bytes() for name in ("pretrained", "trials/mcc-0-0")]
print(json.dumps({"growth": found[many] - found[few], "weights": [hashlib.md5(w).hexdigest() for w in made]}))
"""


def make_project(root: Path, count: int) -> Path:
    """A project with so many packed images; the target's are the source's."""
    folder = root / "build/data/source"
    folder.mkdir(parents=True)
    random = np.random.RandomState(0)
    labels = np.arange(count) % 4
    with NpyWriter(folder / "images.npy", (count, *SHAPE)) as images:
        for start in range(0, count, 4000):
            values = random.randint(0, 200, (min(4000, count - start), *SHAPE), dtype=np.uint8)
            values[:, 0] += labels[start : start + 4000, None, None].astype(np.uint8) * 10
            images.write(start, values)
    np.save(folder / "labels.npy", labels)
    write_json(folder / "classes.json", ["ant", "bee", "cat", "dog"])
    (root / "build/data/pool").symlink_to(folder)
    content = {
        "seeds": [0],
        "label_budgets": [5],
        "strategies": {"scratch": {}},
        "label_free": {"mcc": {}},
        "pretrain": {"backbone": "convnet_tiny", "validation_fraction": 0.01, "training": TRAINING},
        "finetune": {"training": TRAINING},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    return root


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of memory are read from /proc")
def test_memory_stays_flat_and_weights_are_those_of_pictures_in_memory(tmp_path: Path) -> None:
    few, many = make_project(tmp_path / "few", 1000), make_project(tmp_path / "many", MANY)
    found = {}
    for where, most in (("disk", MOST_IN_MEMORY), ("memory", 1 << 40)):
        ended = subprocess.run(
            [sys.executable, "-c", STAGES, str(few), str(many), str(most)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        found[where] = json.loads(ended.stdout.splitlines()[-1])
    assert found["disk"]["weights"] == found["memory"]["weights"]
    assert found["disk"]["growth"] < GROWTH
    assert found["memory"]["growth"] > MOST_IN_MEMORY // 1024, "the measure sees images that are in memory"


def test_a_file_filled_in_any_order_is_what_numpy_writes(tmp_path: Path) -> None:
    values = np.random.RandomState(0).randint(0, 256, (7, 2, 3), dtype=np.uint8)
    with NpyWriter(tmp_path / "ours.npy", values.shape) as file:
        for place in (5, 0, 1, 6):
            file.write(place, values[place])
        file.write(2, values[2:5])
    np.save(tmp_path / "theirs.npy", values)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()


def test_rows_are_read_as_numpy_would_index_them(tmp_path: Path) -> None:
    values = np.random.RandomState(0).rand(50, 3, 2)
    np.save(tmp_path / "a.npy", values)
    file = NpyReader(tmp_path / "a.npy")
    for index in (slice(3, 9), slice(None), np.array([4, 5, 6, 1, 1, 49]), np.array([], dtype=int), slice(4, 4)):
        assert np.array_equal(file[index], values[index])


@pytest.mark.parametrize("damage", ["short", "long", "text", "objects", "scalar"])
def test_what_is_no_array_of_rows_is_refused_at_once(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, {"objects": np.array([None]), "scalar": np.array(1)}.get(damage, np.arange(10)))
    if damage in ("short", "long"):
        os.truncate(path, path.stat().st_size + {"short": -1, "long": 1}[damage])
    if damage == "text":
        path.write_text("no array")
    with pytest.raises(ValueError):  # noqa: PT011  (NumPy's words)
        NpyReader(path)
