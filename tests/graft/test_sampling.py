from dataclasses import replace
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graft.sampling import Batches, draw_labels, hold_out
from graft.split import Split


@pytest.fixture
def pool() -> Split:
    labels = torch.arange(120) % 3
    images = torch.arange(120, dtype=torch.uint8).view(-1, 1, 1, 1)  # every picture is its own index
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
    with pytest.raises(ValueError, match=r"class 'a' has 0 pictures to learn from that share no group"):
        draw_labels(replace(pool, groups=torch.zeros(120, dtype=torch.long)), 10, 5, seed=1)


def test_more_validation_than_training_labels_are_refused(pool: Split) -> None:
    with pytest.raises(ValueError, match=r"validation_per_class \(6\) exceeds labels_per_class \(5\)"):
        draw_labels(pool, 5, 6, 0)


def test_a_budget_that_is_too_large_names_the_smallest_class_and_what_is_possible(pool: Split) -> None:
    short = pool.take((pool.labels != 1).nonzero().flatten())
    message = r"^15 labels a class are asked for \(10 to learn from \+ 5 to choose by\).*: b \(0\); no label budget is"
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


def test_hold_out_takes_its_share_of_each_class(pool: Split) -> None:
    training, validation = hold_out(pool, 0.25, 0)
    assert torch.bincount(validation.labels).tolist() == [10, 10, 10]
    assert indices(training) | indices(validation) == set(range(120))
    assert not indices(training) & indices(validation)


@given(size=st.integers(1, 40), batch_size=st.integers(1, 50), batches=st.integers(1, 20))
def test_batches_are_full_and_see_every_picture_equally_often(size: int, batch_size: int, batches: int) -> None:
    stream = Batches(size, batch_size, torch.Generator().manual_seed(0))
    seen = torch.cat(list(islice(stream, batches)))
    assert len(seen) == batches * batch_size
    counts = torch.bincount(seen, minlength=size)
    assert counts.max() - counts.min() <= 1
