import copy
from dataclasses import replace

import pytest
import torch

from graft.contract import Batch, Step
from graft.data.split import Domains, Split
from graft.loop import Kept, train
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies.adamatch import Adamatch, _Shares
from graft.strategies.scratch import Scratch
from tests.graft.pictures import CLASSES, tiny_network

HOW = Training(steps=60, batch_size=12, learning_rate=0.01, evaluations=1)


def stripes(n: int, *, seed: int = 0, noise: float = 1.0) -> Split:
    """Stripes across, upright, or both: classes that turning a little and shifting leave as they are."""
    generator = torch.Generator().manual_seed(seed)
    wave = 40 * torch.sign(torch.sin(torch.arange(8) * torch.pi / 2 + 0.5))
    kinds = torch.stack([wave[:, None].expand(8, 8), wave.expand(8, 8), (wave[:, None] + wave) / 2])
    labels = torch.arange(n) % 3
    images = 128 + kinds[labels] + noise * 60 * torch.randn(n, 8, 8, generator=generator)
    return Split(images.clamp(0, 255).to(torch.uint8).unsqueeze(1), labels, CLASSES)


@pytest.fixture(scope="module")
def source() -> Network:
    network = tiny_network(seed=3)
    how = Training(steps=60, batch_size=32, learning_rate=0.02)
    train(network, Scratch(), Domains(stripes(300, noise=0.5), stripes(30, seed=1)), how)
    return network


def tuned(source: Network, seed: int, images: Split | None = None, **knobs: float) -> Network:
    strategy = Adamatch(**knobs)
    torch.manual_seed(seed)
    network = strategy.adapt(copy.deepcopy(source), CLASSES)
    pool = stripes(300, seed=20 + seed).without_labels()
    train(network, strategy, Domains(stripes(6, seed=seed), None, images, pool), HOW, keep=Kept(HOW.steps))
    return network


def accuracy(network: Network) -> float:
    test = stripes(300, seed=99)
    return (predict(network, test.images)[0].argmax(dim=1) == test.labels).double().mean().item()


def test_source_images_are_learned_from_by_the_names_of_their_classes(source: Network) -> None:
    order = torch.tensor([2, 0, 3])
    images = stripes(90, seed=7)
    other = Split(images.images, order[images.labels], (CLASSES[1], "other", CLASSES[0], CLASSES[2]))
    alone = tuned(source, 0)
    assert accuracy(tuned(source, 0, other)) > accuracy(alone)
    nothing = tuned(source, 0, replace(other, classes=("a", "b", "c", "d")))
    torch.testing.assert_close(nothing.head.weight, alone.head.weight)


def test_answers_get_the_shares_of_the_labelled_images() -> None:
    shares, generator = _Shares(3), torch.Generator().manual_seed(0)
    labelled = torch.tensor([[0.5, 0.3, 0.2]]).expand(8, 3)
    found = []
    for _ in range(300):
        said = torch.rand(8, 3, generator=generator) * torch.tensor([0.2, 1.0, 1.0])
        found.append(shares.aligned(labelled, said / said.sum(dim=1, keepdim=True)).mean(dim=0))
    torch.testing.assert_close(torch.stack(found[100:]).mean(dim=0), labelled[0], atol=0.08, rtol=0)


def test_only_answers_as_confident_as_those_for_labelled_images_are_learned_from(source: Network) -> None:
    strategy = Adamatch(source_share=0.0)
    network = strategy.adapt(copy.deepcopy(source), CLASSES)
    network.head = copy.deepcopy(source.head)  # sure of what it has learned from
    clear, noise = stripes(12, noise=0.0), torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labelled = Batch(clear.images / 255, clear.labels)
    losses = {}
    for name, images in (("clear", clear.images / 255), ("noise", noise)):
        pool = Batch(images, torch.full((12,), -1))
        torch.manual_seed(0)
        with torch.no_grad():
            whole = strategy.loss(network.eval(), Step(labelled, 1.0, None, pool))
            losses[name] = whole - labelled.cross_entropy(network(labelled.images))
    assert losses["clear"] > 0
    assert losses["noise"] < losses["clear"] * 12, "of noise, few answers are sure"
