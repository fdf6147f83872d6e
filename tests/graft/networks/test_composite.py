"""Two backbones in one, compared with NumPy; and the strategies that join the source's and a target backbone."""

import copy
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from graft.data.split import Domains
from graft.loop import train
from graft.networks.composite import Concat, Fusion
from graft.networks.network import Network
from graft.settings import Training
from graft.strategies.feature_concat import FeatureConcat
from graft.strategies.feature_fusion import FeatureFusion
from tests.graft.pictures import CLASSES, bars, tiny_network

BRIEF = Training(steps=6, batch_size=9, learning_rate=0.01, evaluations=2)


def body(size: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, size))


def test_concatenated_features_have_unit_scale_each_and_the_targets_are_held_back() -> None:
    torch.manual_seed(0)
    source, target = body(5), body(3)
    joined = Concat(source, target)
    joined.target_scale.fill_(0.25)
    pictures = torch.randn(7, 1, 4, 4)
    of_source, of_target = (part(pictures).detach().double().numpy() for part in (source, target))
    expected = [x / np.sqrt((x**2).mean(axis=1, keepdims=True)) for x in (of_source, of_target)]
    found = joined(pictures).detach().numpy()
    np.testing.assert_allclose(found, np.concatenate([expected[0], 0.25 * expected[1]], axis=1), rtol=1e-5)


def test_features_that_are_all_zero_stay_zero() -> None:
    found = Concat(nn.Flatten(), nn.Flatten())(torch.zeros(2, 1, 2, 2))
    assert torch.equal(found, torch.zeros(2, 8))


def test_fused_features_are_mixed_by_a_gate_that_depends_on_the_picture() -> None:
    torch.manual_seed(0)
    source, target = body(5), body(3)
    fused = Fusion(source, 5, target, 3)
    pictures = torch.randn(7, 1, 4, 4)
    s, t = (part(pictures).detach().double().numpy() for part in (source, target))
    gate, projection = cast(nn.Linear, fused.gate), cast(nn.Linear, fused.projection)
    w, b, p, q = (x.detach().double().numpy() for x in (gate.weight, gate.bias, projection.weight, projection.bias))
    g = 1 / (1 + np.exp(-(np.concatenate([s, t], axis=1) @ w.T + b)))
    np.testing.assert_allclose(fused(pictures).detach().numpy(), g * s + (1 - g) * (t @ p.T + q), rtol=1e-4, atol=1e-6)


def test_features_of_one_size_are_not_projected() -> None:
    assert not list(Fusion(body(5), 5, body(5), 5).projection.parameters())


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_an_opened_gate_lets_the_source_through_by_its_share(share: float) -> None:
    source, target = body(5), body(5)
    fused = Fusion(source, 5, target, 5)
    fused.open_gate(share)
    pictures = torch.randn(7, 1, 4, 4)
    torch.testing.assert_close(fused(pictures), share * source(pictures) + (1 - share) * target(pictures))


def adapted(strategy: FeatureConcat | FeatureFusion, classes: tuple[str, ...] = CLASSES) -> Network:
    torch.manual_seed(1)
    return strategy.adapt(tiny_network(seed=3), classes)


@pytest.mark.parametrize("kind", [FeatureConcat, FeatureFusion])
def test_the_sources_body_starts_from_its_weights_and_the_targets_from_others(
    kind: type[FeatureConcat | FeatureFusion],
) -> None:
    network, source = adapted(kind()), tiny_network(seed=3)
    both = cast(Concat | Fusion, network.backbone)
    for name, value in source.backbone.state_dict().items():
        assert torch.equal(both.source.state_dict()[name], value), name
    assert not torch.equal(both.target.get_parameter("0.0.weight"), both.source.get_parameter("0.0.weight"))


@pytest.mark.parametrize("kind", [FeatureConcat, FeatureFusion])
def test_a_frozen_source_body_stays_as_it_was_batch_norm_included(kind: type[FeatureConcat | FeatureFusion]) -> None:
    network = adapted(kind(tune_source=False))
    before = copy.deepcopy(network.backbone.state_dict())
    train(network, kind(tune_source=False), Domains(bars(36), bars(9, seed=1)), BRIEF)
    changed = {name for name, value in network.backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert not {name for name in changed if name.startswith("source.")}
    assert {name for name in before if name.startswith("target.")} <= changed
    if kind is FeatureFusion:
        assert {"gate.weight", "gate.bias"} <= changed


@pytest.mark.parametrize("kind", [FeatureConcat, FeatureFusion])
def test_head_and_bodies_learn_at_their_own_rates(kind: type[FeatureConcat | FeatureFusion]) -> None:
    strategy = kind(source_rate=0.25, head_rate=2.0)
    network = adapted(strategy)
    rates = {id(p): group.rate for group in strategy.parameter_groups(network) for p in group.parameters}
    places = {name: rates.pop(id(p)) for name, p in network.named_parameters()}
    assert not rates
    for name, rate in places.items():
        assert rate == (2.0 if name.startswith("head.") else 0.25 if name.startswith("backbone.source.") else 1.0), name


@pytest.mark.parametrize("kind", [FeatureConcat, FeatureFusion])
def test_the_targets_body_may_be_of_another_architecture(kind: type[FeatureConcat | FeatureFusion]) -> None:
    strategy = kind(target_backbone="convnet_small")
    network = adapted(strategy)
    train(network, strategy, Domains(bars(36), bars(9, seed=1)), BRIEF)
    rebuilt = Network(strategy.finish(network).description)
    rebuilt.load_state_dict(network.state_dict())
    images = bars(6).images
    torch.testing.assert_close(rebuilt.eval()(images), network.eval()(images))


@pytest.mark.parametrize("kind", [FeatureConcat, FeatureFusion])
def test_an_unknown_body_for_the_target_is_refused(kind: type[FeatureConcat | FeatureFusion]) -> None:
    with pytest.raises(ValueError, match="unknown backbone 'convnet_huge'; valid: convnet_tiny"):
        adapted(kind(target_backbone="convnet_huge"))


def test_concat_holds_the_targets_features_back_as_its_knob_says() -> None:
    network = adapted(FeatureConcat(target_scale=0.125)).eval()
    of_source, of_target = network.features(bars(5).images).split(32, dim=1)
    torch.testing.assert_close(of_source.square().mean(dim=1), torch.ones(5))
    torch.testing.assert_close(of_target.square().mean(dim=1), torch.full((5,), 0.125**2))


def test_fusion_starts_from_the_sources_features_as_its_knob_says() -> None:
    network = adapted(FeatureFusion(source_gate=0.75)).eval()
    both, images = cast(Fusion, network.backbone), bars(5).images
    expected = 0.75 * tiny_network(seed=3).eval().features(images)
    pictures = (images.float() / 255 - network.mean) / network.std
    torch.testing.assert_close(network.features(images), expected + 0.25 * both.target(pictures))
