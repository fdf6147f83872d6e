from dataclasses import replace
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graft.data.label_budget import by_size, read_labels
from graft.data.sampling import Batches, LabelledTarget, draw_labels, folds, hold_out
from graft.data.split import Split


@pytest.fixture
def pool() -> Split:
    labels = torch.arange(120) % 3
    images = torch.arange(120, dtype=torch.uint8).view(-1, 1, 1, 1)  # every image is its own index
    return Split(images, labels, ("a", "b", "c"))


def indices(split: Split) -> set[int]:
    return set(split.images.flatten().tolist())


def test_the_budget_is_drawn_for_each_class(pool: Split) -> None:
    drawn = draw_labels(pool, 10, seed=1)
    assert torch.bincount(drawn.labelled.labels).tolist() == [10, 10, 10]
    assert indices(drawn.unlabelled) == set(range(120))
    assert set(drawn.unlabelled.labels.tolist()) == {-1}


def test_a_seed_fixes_the_draw(pool: Split) -> None:
    assert draw_labels(pool, 10, 1).paid.tolist() == draw_labels(pool, 10, 1).paid.tolist()
    assert indices(draw_labels(pool, 10, 1).labelled) != indices(draw_labels(pool, 10, 2).labelled)


def test_a_smaller_budget_is_part_of_a_larger_one(pool: Split) -> None:
    few, more, every = (indices(draw_labels(pool, labels, 1).labelled) for labels in (5, 20, "all"))
    assert few < more < every == set(range(120))


def test_a_fold_sees_nothing_of_what_it_holds_out(pool: Split) -> None:
    drawn = draw_labels(pool, 10, seed=1)
    for held in folds(drawn.labelled, 5):
        training, validation, unlabelled = drawn.without(held)
        assert indices(training) | indices(validation) == indices(drawn.labelled)
        assert not indices(validation) & (indices(training) | indices(unlabelled))
        assert indices(unlabelled) == set(range(120)) - indices(validation)
        assert set(unlabelled.labels.tolist()) == {-1}


def test_a_fold_sees_no_image_of_a_group_that_it_holds_out(pool: Split) -> None:
    grouped = replace(pool, groups=torch.arange(120) // 6)
    drawn = draw_labels(grouped, 10, seed=3)
    for held in folds(drawn.labelled, 5):
        training, validation, unlabelled = drawn.without(held)
        groups = {index // 6 for index in indices(validation)}
        assert not groups & {index // 6 for index in indices(training) | indices(unlabelled)}


def test_the_labels_that_are_not_paid_for_are_never_read(pool: Split) -> None:
    """Everything but the paid labels may be wrong: what a trial sees is the same."""
    drawn = draw_labels(pool, 10, seed=1)
    wrong = pool.labels.roll(1)
    wrong[drawn.paid] = pool.labels[drawn.paid]
    blind = LabelledTarget(replace(pool, labels=wrong), drawn.paid)
    for held in folds(drawn.labelled, 5):
        for ours, theirs in zip(drawn.without(held), blind.without(held), strict=True):
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.labels, theirs.labels)
    assert torch.equal(drawn.labelled.labels, blind.labelled.labels)


def test_a_budget_that_is_too_large_names_the_smallest_class_and_what_is_possible(pool: Split) -> None:
    short = pool.take((pool.labels != 1).nonzero().flatten())
    with pytest.raises(ValueError, match=r"^10 labels per class are asked for, and class b has 0; no label budget"):
        draw_labels(short, 10, 0)
    with pytest.raises(ValueError, match=r"class a has 40; `all` uses every image; .* possible is 40$"):
        draw_labels(pool, 41, 0)
    draw_labels(pool, 40, 0)


def uneven(counts: list[int], groups: list[int] | None = None) -> Split:
    """The given number of images per class, in turn; every image is its own index."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    images = torch.arange(len(labels), dtype=torch.int32).view(-1, 1, 1, 1)
    return Split(images, labels, tuple("abcdef"[: len(counts)]), None if groups is None else torch.tensor(groups))


def test_all_needs_two_pictures_of_every_class() -> None:
    with pytest.raises(ValueError, match=r"`all` needs two images per class.*: b has 1"):
        draw_labels(uneven([5, 1]), "all", seed=0)
    assert len(draw_labels(uneven([5, 2]), "all", seed=0).paid) == 7


@given(counts=st.lists(st.integers(1, 40), min_size=2, max_size=4), count=st.integers(2, 12))
def test_folds_share_out_each_class_and_leave_some_of_it_to_learn_from(counts: list[int], count: int) -> None:
    split = uneven(counts)
    held = folds(split, count)
    places = torch.cat(held).tolist() if held else []
    once = {place for place, label in enumerate(split.labels.tolist()) if counts[label] > 1}
    assert len(places) == len(set(places)), "no image is held out twice"
    assert set(places) == once, "all are held out, but for those that are alone in their class"
    assert len(held) == min(count, len(once))
    for fold in held:
        found = torch.bincount(split.labels[fold], minlength=len(counts)).tolist()
        for label, total in enumerate(counts):
            assert found[label] <= -(-total // count) if total > 1 else found[label] == 0
            assert total - found[label] >= 1
    assert not held or max(map(len, held)) - min(map(len, held)) <= 1


@given(sizes=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 2)), max_size=40), count=st.integers(2, 8))
def test_folds_hold_whole_groups_out(sizes: list[tuple[int, int]], count: int) -> None:
    sizes = [*((size, label) for label in range(3) for size in (1, 2)), *sizes]
    labels = torch.tensor([label for size, label in sizes for _ in range(size)])
    groups = torch.tensor([group for group, (size, _) in enumerate(sizes) for _ in range(size)])
    split = Split(torch.arange(len(labels), dtype=torch.int32).view(-1, 1, 1, 1), labels, ("a", "b", "c"), groups)
    held = folds(split, count)
    assert len(held) >= 2
    of_folds = [set(groups[places].tolist()) for places in held]
    assert sum(map(len, of_folds)) == len(set.union(*of_folds)), "no group is in two folds"
    for places, found in zip(held, of_folds, strict=True):
        assert set(torch.isin(groups, torch.tensor(sorted(found))).nonzero().flatten().tolist()) == set(places.tolist())
        rest = torch.ones(len(labels), dtype=torch.bool).index_fill(0, places, value=False)
        assert set(labels[rest].tolist()) == {0, 1, 2}


def test_groups_that_hold_several_classes_are_shared_out_evenly() -> None:
    groups = [place // 5 for place in range(100)] * 2  # each has images of both classes
    split = uneven([100, 100], groups)
    assert [torch.bincount(split.labels[held]).tolist() for held in folds(split, 5)] == [[20, 20]] * 5


def test_a_class_within_one_group_is_never_held_out() -> None:
    split = uneven([30, 8], [*range(30), *[99] * 8])
    held = torch.cat(folds(split, 5))
    assert set(split.labels[held].tolist()) == {0}
    assert len(held) == 30
    assert not folds(uneven([4, 3], [0] * 4 + [1] * 3), 5)


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
