"""DELTA: the distance between feature maps and the weights of channels, compared with NumPy."""

import copy
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import spearmanr
from torch import Tensor, nn

from graft.data.split import Domains
from graft.loop import train
from graft.networks.network import Description, Network
from graft.settings import Training
from graft.strategies.delta import Delta, MapDistance, fit_probe
from graft.techniques.regularisers import features_and_maps, mean_by_channel
from tests.graft.penalties import begun, numpy_cross_entropy, pretrained_network, shaken, step_on
from tests.graft.pictures import CLASSES, bars, tiny_network


@pytest.fixture(scope="module")
def pretrained() -> Network:
    return pretrained_network()


def features_without(network: Network, name: str, channel: int | None, images: Tensor) -> Tensor:
    """The features of images with one channel of a batch norm switched off."""

    def switch_off(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        if channel is not None:
            output[:, channel] = -1e3  # nothing passes the ReLU that follows
        return output

    handle = network.backbone.get_submodule(name).register_forward_hook(switch_off)
    features = network.features(images)
    handle.remove()
    return features


def test_delta_weighs_squared_differences_by_channel_and_adds_up_the_stages() -> None:
    generator = np.random.default_rng(0)
    picture, source_picture = generator.normal(size=(2, 4, 3, 5, 5)).astype(np.float32)
    tokens, source_tokens = generator.normal(size=(2, 4, 6, 2)).astype(np.float32)
    weights = [np.array([0.2, 0.3, 0.5]), np.array([1.0, 2.0])]
    first = (weights[0] * ((picture - source_picture) ** 2).mean(axis=(0, 2, 3))).sum()
    second = (weights[1] * ((tokens - source_tokens) ** 2).mean(axis=(0, 1))).sum()
    distance = MapDistance(["first", "second"], [torch.from_numpy(values).float() for values in weights])
    maps = [torch.from_numpy(values) for values in (picture, tokens)]
    source_maps = [torch.from_numpy(values) for values in (source_picture, source_tokens)]
    assert distance(maps, source_maps).item() == pytest.approx(first + second, rel=1e-5)


def test_delta_finds_the_channels_of_maps_that_end_in_them() -> None:
    swin = torch.arange(3.0).expand(2, 4, 4, 3)
    assert mean_by_channel(swin).tolist() == [0.0, 1.0, 2.0]


def test_delta_pulls_every_weight_of_the_head_to_zero_by_beta(pretrained: Network) -> None:
    network, step = begun(Delta(), pretrained, bars(9)), step_on(bars(12, seed=2))
    weights = list(network.head.parameters())
    with_penalty = torch.autograd.grad(Delta(beta=0.7).loss(network, step), weights)
    without = torch.autograd.grad(Delta(beta=0.0).loss(network, step), weights)
    for weight, full, plain in zip(weights, with_penalty, without, strict=True):
        np.testing.assert_allclose((full - plain).numpy(), 0.7 * weight.detach(), atol=1e-5)


def test_delta_is_zero_at_the_source_and_one_where_the_maps_vanish(pretrained: Network) -> None:
    pictures = bars(18, seed=2)
    network = begun(Delta(), pretrained, pictures)
    step = step_on(pictures)

    def penalty() -> float:
        return (Delta(alpha=1.0, beta=0.0).loss(network, step) - Delta(alpha=0.0, beta=0.0).loss(network, step)).item()

    assert penalty() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        for name, weight in network.backbone.named_parameters():
            if name.endswith(("2.weight", "2.bias")):  # batch norm: the map after it is zero
                weight.zero_()
    assert penalty() == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("attention", ["even", "exact"])
def test_delta_has_the_authors_penalty_too(pretrained: Network, attention: Literal["even", "exact"]) -> None:
    """alpha / 2 sum over stages of C sum_c a_c |difference in channel c|^2 / pixels, per image; a = softmax(z / 5)."""
    target, pictures = bars(18, seed=2), bars(12, seed=3)
    strategy = Delta(alpha=0.64, beta=0.0, form="sum", attention=attention)
    network = shaken(begun(strategy, pretrained, target))
    probe = fit_probe(pretrained, target)
    expected = 0.0
    for name in ("0.2", "1.2"):  # the batch norms; an in-place ReLU follows
        worth = [
            numpy_cross_entropy(probe(features_without(pretrained, name, channel, target.images)), target.labels)
            for channel in range(pretrained.backbone.get_submodule(name).num_features)
        ]
        z = (np.array(worth) - np.mean(worth)) / np.std(worth) if attention == "exact" else np.zeros(len(worth))
        maps, source_maps = (
            features_and_maps(body, pictures.images, [name])[1][0].detach().double().numpy()
            for body in (network, pretrained)
        )
        by_channel = ((maps - source_maps) ** 2).sum(axis=(2, 3)) / maps[0, 0].size  # (B, C)
        expected += 0.64 / 2 * len(z) * (by_channel @ softmax(z / 5)).mean()
    expected += numpy_cross_entropy(network(pictures.images), pictures.labels)
    assert strategy.loss(network, step_on(pictures)).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("how", "least"), [("gradient", 0.8), ("exact", 0.999)])
def test_delta_attends_to_channels_in_the_order_of_what_their_loss_costs(
    pretrained: Network, how: Literal["gradient", "exact"], least: float
) -> None:
    target = bars(30, seed=2)
    network, even = begun(Delta(attention=how), pretrained, target), begun(Delta(attention="even"), pretrained, target)
    attention = network.extras["distance"].weights[0] / even.extras["distance"].weights[0]
    probe = fit_probe(network, target)

    def loss_without(channel: int | None) -> float:
        logits = probe(features_without(network, "0.2", channel, target.images))
        return numpy_cross_entropy(logits, target.labels)

    costs = [loss_without(channel) - loss_without(None) for channel in range(len(attention))]
    assert spearmanr(attention.numpy(), costs).statistic > least


def test_delta_leaves_no_hook_behind_and_says_which_stage_has_no_map(pretrained: Network) -> None:
    images = bars(3).images
    _, maps = features_and_maps(pretrained.eval(), images, ["0.2", "1.2"])
    assert [tuple(found.shape) for found in maps] == [(3, 16, 4, 4), (3, 32, 2, 2)]
    unused = copy.deepcopy(pretrained)
    unused.backbone.add_module("aside", nn.ModuleList([nn.Linear(2, 2)]))
    unused.backbone.forward = lambda pictures: pretrained.backbone(pictures)
    with pytest.raises(ValueError, match=r"no feature map from aside\.0 of backbone convnet_tiny"):
        features_and_maps(unused, images, ["aside.0"])
    assert not any(module._forward_hooks for module in [*pretrained.modules(), *unused.modules()])


class Tokens(nn.Module):
    """A tiny transformer backbone: two tokens per row of the image, (B, 1, 8, 8) -> (B, T, D) -> (B, D)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 16, 0.0, batch_first=True) for _ in range(2))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images[:, 0])
        for block in self.blocks:
            tokens = block(tokens)
        return tokens.mean(dim=1)


def resnet() -> Network:
    return Network(Description("torchvision:resnet18", CLASSES, 1, 16))


def transformer() -> Network:
    network = tiny_network()
    network.backbone, network.feature_size = Tokens(), 16
    network.head = nn.Linear(16, 3)
    return network


@pytest.mark.parametrize("make", [resnet, transformer])
def test_delta_compares_the_maps_of_residual_networks_and_of_transformers(make: Callable[[], Network]) -> None:
    torch.manual_seed(0)
    target = bars(6, size=8 if make is transformer else 16)
    network = begun(Delta(), make(), target)
    step = step_on(target)
    apart = shaken(network)
    assert Delta(alpha=1.0).loss(apart, step) > Delta(alpha=0.0).loss(apart, step) + 0.01
    train(network, Delta(), Domains(target, target), Training(steps=2, batch_size=6, evaluations=1))
