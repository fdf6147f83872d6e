"""A training run that is interrupted at any step and resumes is the same, bit for bit, as one that is not."""

import copy
import io
from dataclasses import replace
from typing import Any

import pytest
import torch

from graft.contract import Strategy
from graft.data.split import Domains
from graft.loop import Fit, train
from graft.networks.network import Network
from graft.settings import Augmentation, Training
from graft.strategies import strategy_class
from graft.strategies.fine_tune import FineTune
from graft.strategies.scratch import Scratch
from tests.graft.pictures import FOR_PICTURES, bars, tiny_network

BRIEF = Training(steps=8, batch_size=9, learning_rate=0.02, evaluations=4, augmentation=Augmentation(crop=1, scale=0.1))


class Ended(Exception):  # noqa: N818
    """Simulates a kill."""


class Memory:
    """Stores the last state as bytes, as a file would, and ends the run after a step."""

    def __init__(self, end: int = 0, every: int = 1) -> None:
        self._end, self._every = end, every
        self.content = b""

    def load(self) -> dict[str, Any] | None:
        return torch.load(io.BytesIO(self.content), weights_only=True) if self.content else None

    def due(self, step: int, _steps: int) -> bool:
        if step == self._end + 1 and self._end:
            raise Ended
        return step % self._every == 0

    def save(self, state: dict[str, Any]) -> None:
        file = io.BytesIO()
        torch.save(state, file)
        self.content = file.getvalue()


@pytest.fixture(scope="module")
def pretrained() -> Network:
    network = tiny_network(seed=3)
    how = Training(steps=40, batch_size=16, learning_rate=0.02)
    train(network, Scratch(), Domains(bars(90), bars(30, seed=1)), how)
    return network


def run(
    strategy: Strategy, source: Network, memory: Memory | None = None, training: Training = BRIEF
) -> tuple[dict[str, torch.Tensor], Fit]:
    torch.manual_seed(0)
    network = strategy.adapt(copy.deepcopy(source), source.description.classes)
    pool = bars(36, seed=7, noise=120)
    domains = Domains(pool, bars(18, seed=8), bars(120), pool)
    options = {} if memory is None else {"checkpoints": memory}
    fit = train(network, strategy, domains, training, seed=1, **options)
    return strategy.finish(network).state_dict(), fit


def assert_same(first: tuple[dict[str, torch.Tensor], Fit], second: tuple[dict[str, torch.Tensor], Fit]) -> None:
    assert first[0].keys() == second[0].keys()
    assert all(torch.equal(value, second[0][name]) for name, value in first[0].items())
    assert (first[1].curve, first[1].selected_step) == (second[1].curve, second[1].selected_step)
    oracles = [fit.oracle or {} for _, fit in (first, second)]
    assert all(torch.equal(value, oracles[1][name]) for name, value in oracles[0].items())


@pytest.mark.parametrize("name", FOR_PICTURES)
def test_each_strategy_goes_on_as_if_nothing_had_happened(name: str, pretrained: Network) -> None:
    strategy = strategy_class(name)()
    whole = run(strategy, pretrained)
    if not strategy.optimises:
        pytest.skip("there are no steps to be ended at")
    memory = Memory(end=5)
    with pytest.raises(Ended):
        run(strategy, pretrained, memory)
    torch.manual_seed(123)  # another process
    torch.rand(7)
    assert_same(run(strategy, pretrained, resumed(memory)), whole)


def resumed(memory: Memory) -> Memory:
    again = Memory()
    again.content = memory.content
    return again


@pytest.mark.parametrize("end", range(1, 8))
def test_at_any_step(end: int, pretrained: Network) -> None:
    whole, memory = run(FineTune(), pretrained), Memory(end, every=3)
    with pytest.raises(Ended):
        run(FineTune(), pretrained, memory)
    assert_same(run(FineTune(), pretrained, resumed(memory)), whole)


def test_after_several_ends(pretrained: Network) -> None:
    how = replace(BRIEF, keep="last")
    whole, memory = run(FineTune(), pretrained, training=how), Memory()
    for end in (2, 3, 6):
        ended = Memory(end)
        ended.content = memory.content
        with pytest.raises(Ended):
            run(FineTune(), pretrained, ended, how)
        memory = resumed(ended)
    assert_same(run(FineTune(), pretrained, memory, how), whole)


def test_a_run_that_had_ended_is_not_trained_again(pretrained: Network) -> None:
    memory = Memory()
    whole = run(FineTune(), pretrained, memory)
    told: list[Any] = []
    network = FineTune().adapt(copy.deepcopy(pretrained), pretrained.description.classes)
    pool = bars(36, seed=7, noise=120)
    fit = train(
        network, FineTune(), Domains(pool, bars(18, seed=8)), BRIEF, on_evaluation=told.append, checkpoints=memory
    )
    assert_same((network.state_dict(), fit), whole)
    assert not told, "no step and no evaluation was done again"
