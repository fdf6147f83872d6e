"""Every problem of the data is told, all in one go, with the files' paths."""

import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.errors import GraftError
from tasks.datasets.check import SHOWN, Budget, check_data, hold_out, summarise, together
from tasks.datasets.layouts.domain import Fault
from tasks.settings.prepare import PrepareSettings
from tests.tasks.support.raw_data import good_project, labels, pictures, save_npz, save_pictures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return good_project(tmp_path)


def faults(root: Path, budget: Budget | None = None, **settings: object) -> str:
    return "\n".join(summarise(check_data(root, PrepareSettings(**settings), budget)))


def test_good_data_has_no_faults(root: Path) -> None:
    assert faults(root, Budget(4, 4)) == ""


def test_all_faults_are_told_at_once(root: Path) -> None:
    target = root / "data/target"
    (target / "train/one/000.png").write_bytes((target / "train/one/000.png").read_bytes()[:60])
    (target / "train/one/notes.txt").write_text("not an image")
    (target / "train/two/twin.png").write_bytes((target / "test/one/000.png").read_bytes())
    (target / "train/empty").mkdir()
    save_pictures(target, {"test/new": pictures(1, seed=9)})
    save_npz(root / "data/source/train.npz", pictures(6), classes=("a", "b"), labels=np.zeros(6, dtype=np.int64))

    said = faults(root, Budget(10)).splitlines()

    def one(start: str, *words: str) -> None:
        matching = [line for line in said if line.startswith(start) and all(word in line for word in words)]
        assert len(matching) == 1, said

    one("data/target/train/one/000.png:", "truncated or damaged")
    one("data/target/train/one/notes.txt:", "not an image (PNG, JPEG, WEBP, BMP, TIFF)")
    one("data/target/test/one/000.png:", "in the pool split too: data/target/train/two/twin.png")
    one("data/target (pool):", "class 'empty' is empty")
    one("data/target (test):", "class 'empty' is empty")
    one("data/target/test/new:", "class 'new' is in the test split but not in train")
    one("data/source (source):", "class 'b' is empty")
    one(
        "data/target (pool):",
        "class 'one' has 9 labels",
        "fewer than the 10 of the largest of label_budgets; lower it, or use `all`",
    )
    one("data/target (pool):", "class 'two' has 9 labels")
    assert len(said) == 9


def test_both_domains_are_named_when_both_are_missing(tmp_path: Path) -> None:
    said = faults(tmp_path)
    assert "data/source: folder not found" in said
    assert "data/target: folder not found" in said


def test_a_test_picture_among_the_sources_is_a_leak(root: Path) -> None:
    save_pictures(root / "data/target", {"test/one": pictures(20, seed=1)[7:8]})
    said = faults(root)
    assert "data/target/test/one/000.png" in said
    assert "in the source split too: data/source/train.npz[7]" in said


def test_equal_pictures_within_a_split_are_no_fault(root: Path) -> None:
    save_pictures(root / "data/target", {"train/one/again": pictures(24, seed=2)[:3]})
    assert faults(root) == ""


def test_a_single_class_is_a_fault(root: Path) -> None:
    save_npz(root / "data/source/train.npz", pictures(4), classes=("a",))
    assert "data/source (source): at least 2 classes are needed, found 1: ['a']" in faults(root)


def test_the_budget_is_held_against_the_pool_that_a_made_test_split_leaves(tmp_path: Path) -> None:
    root = good_project(tmp_path)
    save_npz(root / "data/other/train.npz", pictures(20, seed=3))
    assert faults(root, Budget(6), target="data/other", test_fraction=0.4) == ""
    assert "class 'zero' has 6 labels" in faults(root, Budget(7), target="data/other", test_fraction=0.4)


def test_a_class_too_small_to_be_divided_is_a_fault(root: Path) -> None:
    save_npz(root / "data/other/train.npz", pictures(5, seed=3), labels=np.array([0, 0, 0, 0, 1]))
    assert "data/other (test): class 'one' is empty" in faults(root, target="data/other")


@pytest.mark.parametrize(
    "path", ["/etc", "../data/source", "data/../../other", "data", "source", "", "datax/source", "data/source/.."]
)
def test_folders_outside_data_are_refused_for_both_domains(root: Path, path: str) -> None:
    with pytest.raises(GraftError) as caught:
        check_data(root, PrepareSettings(source=path, target=path))
    assert [f"prepare.{key}: {path!r} is not a folder inside data/" in text for key, text in
            zip(("source", "target"), caught.value.problems, strict=True)] == [True, True]  # fmt: skip


def test_a_link_that_leads_a_domain_out_of_data_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "data/link").symlink_to(tmp_path.parent)
    with pytest.raises(GraftError, match=r"prepare\.target: 'data/link' is not a folder inside data/"):
        check_data(root, PrepareSettings(target="data/link"))


def test_a_group_on_both_sides_of_a_given_split_is_a_leak(root: Path) -> None:
    save_pictures(root / "data/other", {"all": pictures(8, seed=5)})
    rows = [
        f"all/{place:03}.png,{'ab'[place % 2]},{'train' if place < 4 else 'test'},v{place // 3}" for place in range(8)
    ]
    (root / "data/other/list.csv").write_text("\n".join(["path,label,split,video", *rows]))
    said = faults(root, target="data/other", target_group_column="video")
    assert said == "data/other: group 'v1' is in the training and the test split"
    assert faults(root, target="data/other") == ""


class TestGroupsOfTheSource:
    """Eight images of domain x, which is the source, and eight of y, in one folder."""

    BOTH: ClassVar = {"source": "data/all", "target": "data/all", "source_domain": "x", "target_domain": "y"}

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        save_pictures(tmp_path / "data/all", {"all": pictures(16, seed=5)})
        return tmp_path

    def write(self, root: Path, videos: list[str], *, has_test: bool = True) -> None:
        splits = [("train" if n % 8 < 4 or n < 8 or not has_test else "test") for n in range(16)]
        rows = [f"all/{n:03}.png,{'ab'[n % 2]},{'xy'[n // 8]},{splits[n]},{videos[n]},h" for n in range(16)]
        (root / "data/all/list.csv").write_text("\n".join(["path,label,domain,split,video,house", *rows]))

    def test_in_one_table_none_is_tested(self, root: Path) -> None:
        self.write(root, [f"v{n}" for n in range(16)])
        assert faults(root, **self.BOTH, target_group_column="video") == ""
        self.write(root, [f"v{n % 12}" for n in range(16)])  # the last four, which test, are of the source's first
        said = faults(root, **self.BOTH, target_group_column="video").splitlines()
        assert said == [f"data/all: group 'v{n}' is in the source's training and the test split" for n in range(4)]

    def test_a_row_of_the_source_may_lack_one_unless_its_own_column_is_asked_for(self, root: Path) -> None:
        self.write(root, ["", "", *(f"v{n}" for n in range(2, 16))])
        assert faults(root, **self.BOTH, target_group_column="video") == ""
        asked = faults(root, **self.BOTH, target_group_column="video", source_group_column="video")
        assert asked.splitlines() == ["data/all/list.csv:2: no video", "data/all/list.csv:3: no video"]

    def test_values_of_another_column_are_others(self, root: Path) -> None:
        self.write(root, ["h", *(f"v{n}" for n in range(1, 15)), "h"])
        assert faults(root, **self.BOTH, target_group_column="video", source_group_column="house") == ""

    def test_a_split_that_is_made_tests_none(self, root: Path) -> None:
        self.write(root, [f"v{n % 10}" for n in range(16)], has_test=False)  # the target's last six are the source's
        for seed in range(4):
            assert faults(root, **self.BOTH, target_group_column="video", test_fraction=0.3, seed=seed) == ""

    def test_domains_in_tables_of_their_own_number_as_they_like(self, root: Path) -> None:
        for name in "xy":
            for split in ("train", "test"):
                number = 0 if split == "train" else 4
                rows = [f"{'ab'[n % 2]}\tword {name} {n}\tv{n}" for n in range(number, number + 4)]
                path = root / f"data/all/{name}/{split}.tsv"
                path.parent.mkdir(exist_ok=True)
                path.write_text("\n".join(["label\ttext\tvideo", *rows]))
        shutil.rmtree(root / "data/all/all")
        assert faults(root, **self.BOTH, target_group_column="video") == ""
        (root / "data/all/x/train.tsv").write_text("a\tword one\nb\tword two\na\tword three\nb\tword four\n")
        assert faults(root, **self.BOTH, target_group_column="video") == ""


def test_one_folder_for_both_domains_is_refused(root: Path) -> None:
    with pytest.raises(GraftError, match="both 'data/source'"):
        check_data(root, PrepareSettings(target="data/source"))


def test_long_lists_are_cut_by_kind_and_counted() -> None:
    found = [Fault("image", f"p{number:03}", "broken") for number in range(500)]
    lines = summarise([*found, Fault("leak", "one", "twin")])
    assert lines[0] == "p000: broken"
    assert lines[-1] == "one: twin"
    assert len(lines) == SHOWN + 1 + 1
    assert lines[SHOWN] == "… and 480 more of this kind (image)"


@given(
    sizes=st.lists(st.integers(2, 30), min_size=2, max_size=4),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**32 - 1),
    copies=st.integers(1, 3),
)
def test_a_made_test_split_is_stratified_and_never_parts_equal_pictures(
    sizes: list[int], fraction: float, seed: int, copies: int
) -> None:
    found = np.repeat(np.concatenate([np.full(size, label) for label, size in enumerate(sizes)]), copies)
    digests = [str(number // copies).encode() for number in range(len(found))]
    held = hold_out(found, together(digests, None), fraction, seed)
    assert not {digests[index] for index in np.flatnonzero(held)} & {digests[index] for index in np.flatnonzero(~held)}
    for label, size in enumerate(sizes):
        taken = held[found == label].sum() // copies
        assert 1 <= taken <= size - 1
        assert abs(taken - fraction * size) <= 1
    np.testing.assert_array_equal(held, hold_out(found, together(digests, None), fraction, seed))


def test_another_seed_draws_another_test_split() -> None:
    digests = [bytes([number]) for number in range(100)]
    assert not np.array_equal(
        hold_out(labels(100), together(digests, None), 0.3, 0), hold_out(labels(100), together(digests, None), 0.3, 1)
    )
