from dataclasses import replace
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graft.data.label_budget import budget_fault, by_size, held_out, nesting_fault, read_labels
from graft.data.sampling import Batches, draw_labels, hold_out
from graft.data.split import Split


@pytest.fixture
def pool() -> Split:
    labels = torch.arange(120) % 3
    images = torch.arange(120, dtype=torch.uint8).view(-1, 1, 1, 1)  # every image is its own index
    return Split(images, labels, ("a", "b", "c"))


def indices(split: Split) -> set[int]:
    return set(split.images.flatten().tolist())


def test_the_budget_is_drawn_for_each_class_and_validation_apart_from_it(pool: Split) -> None:
    drawn = draw_labels(pool, 10, 5, seed=1)
    assert torch.bincount(drawn.training.labels).tolist() == [10, 10, 10]
    assert torch.bincount(drawn.validation.labels).tolist() == [5, 5, 5]
    assert not indices(drawn.training) & indices(drawn.validation)


def test_a_seed_fixes_the_draw(pool: Split) -> None:
    assert indices(draw_labels(pool, 10, 5, 1).training) == indices(draw_labels(pool, 10, 5, 1).training)
    assert indices(draw_labels(pool, 10, 5, 1).training) != indices(draw_labels(pool, 10, 5, 2).training)


def test_a_smaller_budget_is_part_of_a_larger_one_and_validation_stays(pool: Split) -> None:
    small, large = draw_labels(pool, 5, 5, 1), draw_labels(pool, 20, 5, 1)
    assert indices(small.training) < indices(large.training)
    assert indices(small.validation) == indices(large.validation)


def test_the_other_pictures_come_without_labels_and_without_those_of_validation(pool: Split) -> None:
    drawn = draw_labels(pool, 10, 5, seed=1)
    assert indices(drawn.unlabelled) == set(range(120)) - indices(drawn.validation)
    assert set(drawn.unlabelled.labels.tolist()) == {-1}


def test_what_belongs_together_is_on_one_side(pool: Split) -> None:
    grouped = replace(pool, groups=torch.arange(120) // 6)
    for seed in range(20):
        drawn = draw_labels(grouped, 10, 3, seed)
        assert torch.bincount(drawn.training.labels).tolist() == [10, 10, 10]
        held = {index // 6 for index in indices(drawn.validation)}
        assert not held & {index // 6 for index in indices(drawn.training) | indices(drawn.unlabelled)}
        assert indices(draw_labels(grouped, 5, 3, seed).training) < indices(drawn.training)


def test_groups_of_their_own_change_nothing(pool: Split) -> None:
    alone = draw_labels(replace(pool, groups=torch.arange(120)), 10, 5, seed=1)
    assert torch.equal(alone.training.images, draw_labels(pool, 10, 5, seed=1).training.images)


def test_groups_that_leave_too_few_to_learn_from_are_named(pool: Split) -> None:
    with pytest.raises(ValueError, match=r"class 'a' has 0 training images that share no group"):
        draw_labels(replace(pool, groups=torch.zeros(120, dtype=torch.long)), 10, 5, seed=1)


def test_more_validation_than_training_labels_are_refused(pool: Split) -> None:
    with pytest.raises(ValueError, match=r"validation_per_class \(6\) exceeds labels_per_class \(5\)"):
        draw_labels(pool, 5, 6, 0)


def test_a_budget_that_is_too_large_names_the_smallest_class_and_what_is_possible(pool: Split) -> None:
    short = pool.take((pool.labels != 1).nonzero().flatten())
    message = (
        r"^15 labels per class are asked for \(10 for training \+ 5 for validation\), .*: b \(0\); no label budget"
    )
    with pytest.raises(ValueError, match=message):
        draw_labels(short, 10, 5, 0)


@pytest.mark.parametrize(("labels", "cap"), [(40, 5), (40, 30), (41, 41), (500, 20), (21, 100)])
def test_the_largest_budget_that_is_named_is_possible_and_the_next_one_is_not(
    pool: Split, labels: int, cap: int
) -> None:
    with pytest.raises(ValueError, match="the largest label budget possible is") as caught:
        draw_labels(pool, labels, min(cap, labels), 0)
    largest = int(str(caught.value).rpartition(" ")[2])
    draw_labels(pool, largest, min(cap, largest), 0)
    with pytest.raises(ValueError, match="are asked for"):
        draw_labels(pool, largest + 1, min(cap, largest + 1), 0)


def uneven(counts: list[int], groups: list[int] | None = None) -> Split:
    """The given number of images per class, in turn; every image is its own index."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    images = torch.arange(len(labels), dtype=torch.int32).view(-1, 1, 1, 1)
    return Split(images, labels, tuple("abcdef"[: len(counts)]), None if groups is None else torch.tensor(groups))


def test_all_takes_every_picture_but_the_share_of_each_class_to_choose_by() -> None:
    drawn = draw_labels(uneven([100, 30, 2]), "all", 0.2, seed=1)
    assert torch.bincount(drawn.validation.labels).tolist() == [20, 6, 1]
    assert torch.bincount(drawn.training.labels).tolist() == [80, 24, 1]
    assert indices(drawn.training) | indices(drawn.validation) == set(range(132))
    assert indices(drawn.unlabelled) == indices(drawn.training)
    assert indices(draw_labels(uneven([100, 30, 2]), "all", 0.2, seed=2).validation) != indices(drawn.validation)


@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    labels=st.integers(1, 30),
    validation=st.integers(1, 30),
    fraction=st.floats(0.01, 0.5),
    seed=st.integers(0, 99),
)
def test_a_number_is_part_of_all_unless_the_fault_is_told(
    counts: list[int], labels: int, validation: int, fraction: float, seed: int
) -> None:
    pool, validation = uneven(counts), min(validation, labels)
    of_class = dict(zip(pool.classes, counts, strict=True))
    if budget_fault(of_class, "all", fraction) or budget_fault(of_class, labels, validation):
        return
    few, every = draw_labels(pool, labels, validation, seed), draw_labels(pool, "all", fraction, seed)
    assert len(every.validation) <= len(every.training)
    nested = indices(few.training) <= indices(every.training)
    assert nested == (nesting_fault(of_class, labels, fraction) is None)
    smaller, larger = sorted([indices(few.validation), indices(every.validation)], key=len)
    held = [held_out(count, fraction) for count in counts]
    if len({count <= validation for count in held}) == 1:  # fewer of every class, or more
        assert smaller <= larger


@given(
    sizes=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 2)), min_size=9, max_size=40),
    fraction=st.floats(0.05, 0.5),
    seed=st.integers(0, 99),
)
def test_all_holds_whole_groups_out_and_loses_none(sizes: list[tuple[int, int]], fraction: float, seed: int) -> None:
    sizes = [*((1, label) for label in range(3)), *((2, label) for label in range(3)), *sizes]
    labels = torch.tensor([label for size, label in sizes for _ in range(size)])
    groups = torch.tensor([group for group, (size, _) in enumerate(sizes) for _ in range(size)])
    pool = Split(torch.arange(len(labels), dtype=torch.int32).view(-1, 1, 1, 1), labels, ("a", "b", "c"), groups)
    drawn = draw_labels(pool, "all", fraction, seed)
    assert drawn.training.groups is not None
    assert drawn.validation.groups is not None
    assert not set(drawn.training.groups.tolist()) & set(drawn.validation.groups.tolist())
    assert indices(drawn.training) | indices(drawn.validation) == set(range(len(labels)))
    for label in range(3):
        held, count = int((drawn.validation.labels == label).sum()), int((labels == label).sum())
        assert 1 <= held <= max(1, held_out(count, fraction))


def test_a_group_that_is_in_several_classes_stays_whole() -> None:
    groups = [place // 5 for place in range(100)] * 2  # each has images of both classes
    drawn = draw_labels(uneven([100, 100], groups), "all", 0.2, seed=0)
    assert drawn.training.groups is not None
    assert drawn.validation.groups is not None
    assert not set(drawn.training.groups.tolist()) & set(drawn.validation.groups.tolist())
    assert torch.bincount(drawn.validation.labels).tolist() == [20, 20]


def test_groups_of_which_none_can_be_held_out_are_named() -> None:
    with pytest.raises(ValueError, match=r"hold 14 of 20 images, more than remain for training"):
        draw_labels(uneven([12, 8], [0] * 12 + [1] * 4 + [2] * 2 + [0] * 2), "all", 0.2, seed=0)
    with pytest.raises(ValueError, match=r"class 'b' has 0 training images that share no group"):
        draw_labels(uneven([30, 8], [*range(30), *[99] * 8]), "all", 0.2, seed=0)


def test_all_needs_two_pictures_of_every_class() -> None:
    with pytest.raises(ValueError, match=r"`all` needs two images per class.*: b has 1"):
        draw_labels(uneven([5, 1]), "all", 0.2, seed=0)


def test_a_number_that_is_no_part_of_all_says_what_would_be() -> None:
    assert nesting_fault({"a": 50, "b": 11}, 10, 0.2) == (
        "10 labels per class are not a subset of `all`, which trains on 9 images of b and holds out 2 for validation; "
        "ask for at most 9, or lower finetune.validation_fraction"
    )
    assert nesting_fault({"a": 50, "b": 11}, 9, 0.2) is None


def test_all_comes_after_every_number_and_is_read_as_a_word() -> None:
    assert sorted([read_labels(text) for text in ("10", "all", "2")], key=by_size) == [2, 10, "all"]
    with pytest.raises(ValueError, match="some"):
        read_labels("some")


def test_hold_out_takes_its_share_of_each_class(pool: Split) -> None:
    training, validation = hold_out(pool, 0.25, 0)
    assert torch.bincount(validation.labels).tolist() == [10, 10, 10]
    assert indices(training) | indices(validation) == set(range(120))
    assert not indices(training) & indices(validation)


def test_hold_out_takes_whole_groups(pool: Split) -> None:
    grouped = replace(pool, groups=torch.arange(120) // 6)
    training, validation = hold_out(grouped, 0.25, 0)
    assert training.groups is not None
    assert validation.groups is not None
    assert not set(training.groups.tolist()) & set(validation.groups.tolist())
    assert indices(training) | indices(validation) == set(range(120))
    assert 20 <= len(validation) <= 40
    assert torch.bincount(training.labels).min() > 0


def test_hold_out_says_where_groups_leave_nothing_to_learn_from() -> None:
    labels = torch.tensor([0] * 9 + [1] * 3)
    split = Split(torch.arange(12).view(-1, 1, 1, 1), labels, ("a", "b"), torch.tensor([*range(9), 9, 9, 9]))
    with pytest.raises(ValueError, match="all images of class 'b' are in groups that are held out"):
        hold_out(split, 0.2, 0)


@given(size=st.integers(1, 40), batch_size=st.integers(1, 50), batches=st.integers(1, 20))
def test_batches_are_full_and_see_every_picture_equally_often(size: int, batch_size: int, batches: int) -> None:
    stream = Batches(size, batch_size, torch.Generator().manual_seed(0))
    seen = torch.cat(list(islice(stream, batches)))
    assert len(seen) == batches * batch_size
    counts = torch.bincount(seen, minlength=size)
    assert counts.max() - counts.min() <= 1
