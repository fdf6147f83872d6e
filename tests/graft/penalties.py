"""Helpers for tests of penalties: a trained network, one before its first step, and cross-entropy in NumPy."""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from graft.contract import Batch, Step, Strategy
from graft.data.split import Domains, Split
from graft.loop import train
from graft.networks.network import Network
from graft.settings import Training
from graft.strategies.scratch import Scratch
from tests.graft.pictures import bars, tiny_network


def pretrained_network() -> Network:
    """A network that was trained briefly on bars."""
    network = tiny_network(seed=3)
    budget = Training(steps=40, batch_size=16, learning_rate=0.02)
    train(network, Scratch(), Domains(bars(90), bars(30, seed=1)), budget)
    return network


def begun(strategy: Strategy, source: Network, target: Split) -> Network:
    """The network before the first step, in evaluation mode."""
    torch.manual_seed(0)
    network = strategy.adapt(copy.deepcopy(source), target.classes)
    strategy.begin(network, Domains(target, target))
    return network.eval()


def step_on(split: Split) -> Step:
    return Step(Batch(split.images.float() / 255, split.labels))


def shaken(network: Network) -> Network:
    """The network with a little noise on each of its weights."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in [*network.backbone.parameters(), *network.head.parameters()]:
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return network


def numpy_cross_entropy(logits: Tensor, labels: Tensor) -> float:
    values = logits.detach().double().numpy()
    values = values - values.max(axis=1, keepdims=True)
    log_probabilities = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    return float(-log_probabilities[np.arange(len(labels)), labels.numpy()].mean())


def numpy_weights(module: nn.Module) -> list[np.ndarray]:
    return [weight.detach().double().numpy() for weight in module.parameters()]
