from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.artifacts.networks import load_network, save_network
from tasks.artifacts.splits import load_split, save_split
from tasks.common.errors import GraftError
from tasks.common.files import new_folder, write_json, write_text
from tests.graft.pictures import bars, tiny_network


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]
    with new_folder(tmp_path / "out") as folder:
        (folder / "new").write_text("new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "out"]


def test_a_failed_write_leaves_the_old_text_and_no_part_of_the_new(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "\ud800")
    assert (tmp_path / "a").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_json_has_no_nan_and_sorted_keys(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a", {"x": float("nan")})
    write_json(tmp_path / "a", {"b": 1, "a": 2})
    assert (tmp_path / "a").read_text() == '{\n  "a": 2,\n  "b": 1\n}\n'


def test_networks_and_splits_survive_the_disk(tmp_path: Path) -> None:
    network, split = tiny_network(), bars(9)
    save_network(tmp_path, network)
    save_split(tmp_path, split.images.numpy(), split.labels.numpy(), list(split.classes))
    again = load_split(tmp_path)
    assert torch.equal(again.images, split.images)
    assert torch.equal(again.labels, split.labels)
    assert again.classes == split.classes
    assert torch.equal(load_network(tmp_path)(again.images), network.eval()(split.images))


def test_weights_that_do_not_fit_their_description_are_refused(tmp_path: Path) -> None:
    save_network(tmp_path, tiny_network())
    description = tiny_network(("a", "b")).description
    write_json(tmp_path / "model.json", description.to_dict())
    with pytest.raises(GraftError, match="not a network that can be read"):
        load_network(tmp_path)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    split = bars(9)
    save_split(tmp_path, split.images.numpy(), split.labels.numpy(), list(split.classes))
    np.save(tmp_path / "labels.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(GraftError, match="not a packed split"):
        load_split(tmp_path)
