"""Images that are read from disk as needed train the same networks, bit for bit, as images in memory."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from graft.data import on_disk
from graft.data.on_disk import OnDisk, in_memory
from graft.data.sampling import draw_labels, hold_out
from graft.data.split import Domains, Split
from graft.loop import Fit, train
from graft.networks.batch_norm import estimate_statistics
from graft.networks.network import predict
from graft.settings import Augmentation, Training
from graft.strategies import strategy_class
from graft.strategies.scratch import Scratch
from tests.graft.pictures import FOR_PICTURES, bars, tiny_network
from tests.graft.training.test_checkpoint import Ended, Memory

BRIEF = Training(steps=8, batch_size=9, learning_rate=0.02, evaluations=2, augmentation=Augmentation(crop=1, scale=0.1))


def stored(split: Split) -> Split:
    """The same images, as rows of a larger array in another order."""
    generator = torch.Generator().manual_seed(len(split))
    others = torch.randint(0, 256, (5, *split.images.shape[1:]), dtype=torch.uint8)
    order = torch.randperm(len(split) + len(others), generator=generator)
    array = torch.empty_like(torch.cat([split.images, others]))
    array[order] = torch.cat([split.images, others])
    return replace(split, images=OnDisk(array.__getitem__, tuple(array.shape), order[: len(split)]))


def colour(n: int, seed: int = 0) -> Split:
    plain = bars(n, seed=seed)
    return replace(plain, images=torch.cat([plain.images, 255 - plain.images, plain.images // 2], dim=1))


def weights(name: str, domains: Domains, channels: int = 1, memory: Memory | None = None) -> tuple[list[Tensor], Fit]:
    source = tiny_network(seed=3, channels=channels)
    strategy = strategy_class(name)()
    torch.manual_seed(0)
    network = strategy.adapt(source, source.description.classes)
    fit = train(network, strategy, domains, BRIEF, seed=1, **({"checkpoints": memory} if memory else {}))
    return [*strategy.finish(network).state_dict().values()], fit


def assert_same(first: tuple[list[Tensor], Fit], second: tuple[list[Tensor], Fit]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))
    assert first[1].curve == second[1].curve


@pytest.fixture
def domains() -> Domains:
    pool = bars(36, seed=7, noise=120)
    return Domains(pool, bars(18, seed=8), bars(120), pool)


@pytest.mark.parametrize("name", FOR_PICTURES)
def test_every_strategy_learns_the_same_from_the_disk(name: str, domains: Domains) -> None:
    assert_same(weights(name, domains), weights(name, domains.map(stored)))


@pytest.mark.parametrize("name", ["fine_tune", "linear_probe", "mixed_training"])
def test_colour_pictures_pass_in_the_same_layout(name: str) -> None:
    domains = Domains(colour(36, seed=7), colour(18, seed=8), colour(90), colour(36, seed=9))
    assert_same(weights(name, domains, 3), weights(name, domains.map(stored), 3))


@pytest.mark.parametrize("end", [1, 5])
def test_a_run_that_ended_goes_on_the_same_wherever_its_pictures_are(domains: Domains, end: int) -> None:
    whole = weights("mixed_training", domains)
    memory, other = Memory(end=end), Memory(end=end)
    for kept, where in ((memory, domains.map(stored)), (other, domains)):
        with pytest.raises(Ended):
            weights("mixed_training", where, memory=kept)
    assert memory.content == other.content
    rest = Memory()
    rest.content = memory.content
    assert_same(whole, weights("mixed_training", domains.map(stored), memory=rest))


def test_what_is_drawn_stays_on_the_disk_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, size = bars(60), bars(1).images.nbytes
    monkeypatch.setattr(on_disk, "MOST_IN_MEMORY", 10 * size)
    drawn, plain = draw_labels(stored(pool), 3, seed=0), draw_labels(pool, 3, seed=0)
    assert isinstance(drawn.labelled.images, Tensor)
    assert isinstance(drawn.unlabelled.images, OnDisk)
    kept, held = hold_out(stored(pool), 0.1, seed=0)
    assert isinstance(kept.images, OnDisk)
    assert isinstance(held.images, Tensor)
    for lazy, whole in ((drawn.labelled, plain.labelled), (drawn.unlabelled, plain.unlabelled)):
        assert torch.equal(in_memory(lazy.images), in_memory(whole.images))
        assert torch.equal(lazy.labels, whole.labels)
    assert torch.equal(in_memory(kept.images), in_memory(hold_out(pool, 0.1, seed=0)[0].images))


def test_they_answer_to_indices_slices_and_parts_as_a_tensor_does() -> None:
    images, lazy = bars(11).images, stored(bars(11)).images
    for index in (3, slice(2, 7), slice(None), torch.tensor([5, 1, 1]), torch.tensor(4)):
        assert torch.equal(images[index], lazy[index])
    assert (lazy.shape, lazy.ndim, len(lazy)) == (images.shape, 4, 11)
    for ours, theirs in ((lazy.split(4), images.split(4)), (lazy.tensor_split(3), images.tensor_split(3))):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_predictions_and_statistics_are_the_same() -> None:
    pictures, network = bars(50), tiny_network()
    assert stored(pictures).mean_and_std() == pictures.mean_and_std()
    for ours, theirs in zip(
        predict(network, stored(pictures).images, 8), predict(network, pictures.images, 8), strict=True
    ):
        assert torch.equal(ours, theirs)
    other = copy.deepcopy(network)
    estimate_statistics(network, pictures.images, 16)
    estimate_statistics(other, stored(pictures).images, 16)
    assert all(torch.equal(a, b) for a, b in zip(network.buffers(), other.buffers(), strict=True))


def test_a_fault_while_reading_ahead_ends_the_training() -> None:
    pictures, reads = bars(30), iter(range(3))

    def read(rows: Tensor) -> Tensor:
        if next(reads, None) is None:
            raise OSError("the disk has gone")
        return pictures.images[rows]

    lazy = replace(pictures, images=OnDisk(read, tuple(pictures.images.shape)))
    with pytest.raises(OSError, match="the disk has gone"):
        train(tiny_network(), Scratch(), Domains(lazy, bars(9)), BRIEF)
