"""Fine-tuning against forgetting and overfitting: each penalty against NumPy or a case worked by hand."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import Tensor, nn

from graft.loop import train
from graft.network import Description, Network, predict
from graft.regularisers import features_and_maps, mean_by_channel
from graft.relationship import direct_relationship, related_head, reverse_relationship
from graft.settings import Training
from graft.split import Domains, Split
from graft.strategies.base import Batch, Step, Strategy
from graft.strategies.bss import Bss, spectrum
from graft.strategies.co_tuning import CoTuning
from graft.strategies.delta import Delta, MapDistance, fit_probe
from graft.strategies.l2_sp import L2Sp
from graft.strategies.scratch import Scratch
from graft.strategies.stoch_norm import StochasticNorm, StochNorm
from tests.graft.pictures import CLASSES, bars, tiny_network

BRIEF = Training(steps=8, batch_size=9, learning_rate=0.01, evaluations=2)
OTHER_CLASSES = ("elsewhere", "right")

all_of_them = pytest.mark.parametrize("strategy", [L2Sp(), Delta(), Bss(), StochNorm(), CoTuning()], ids=repr)


@pytest.fixture(scope="module")
def pretrained() -> Network:
    network = tiny_network(seed=3)
    budget = Training(steps=40, batch_size=16, learning_rate=0.02)
    train(network, Scratch(), Domains(bars(90), bars(30, seed=1)), budget)
    return network


def begun(strategy: Strategy, source: Network, target: Split) -> Network:
    """The network as it is before the first step, in evaluation mode."""
    torch.manual_seed(0)
    network = strategy.adapt(copy.deepcopy(source), target.classes)
    strategy.begin(network, Domains(target, target))
    return network.eval()


def step_on(split: Split) -> Step:
    return Step(Batch(split.images.float() / 255, split.labels))


def shaken(network: Network) -> Network:
    """The network with every weight of its own moved a little."""
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


# Every one of them


@all_of_them
def test_nothing_decays_the_weights_of_a_penalised_network_twice(strategy: Strategy, pretrained: Network) -> None:
    network = begun(strategy, pretrained, bars(9))
    decays = {group.decay for group in strategy.parameter_groups(network)}
    assert decays == ({0.0} if isinstance(strategy, (L2Sp, Delta)) else {1.0})


@all_of_them
def test_bfloat16_autocast_gives_nearly_the_loss_of_float32(strategy: Strategy, pretrained: Network) -> None:
    network, step = shaken(begun(strategy, pretrained, bars(18))), step_on(bars(18, seed=2))
    exact = strategy.loss(network, step)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = strategy.loss(network, step)
    torch.testing.assert_close(rounded.float(), exact, rtol=0.03, atol=0.03)


# L2-SP


@pytest.mark.parametrize(("over", "pulled"), [("all", ("weight", "bias")), ("kernels", ("0.0.weight", "1.0.weight"))])
def test_l2_sp_is_the_cross_entropy_and_both_penalties_of_a_numpy_computation(
    pretrained: Network, over: Literal["all", "kernels"], pulled: tuple[str, ...]
) -> None:
    network, pictures = shaken(begun(L2Sp(), pretrained, bars(9))), bars(12, seed=2)
    distance = sum(
        ((w - w0) ** 2).sum()
        for (name, _), w, w0 in zip(
            network.backbone.named_parameters(),
            numpy_weights(network.backbone),
            numpy_weights(pretrained.backbone),
            strict=True,
        )
        if name.endswith(pulled)
    )
    size = sum((v**2).sum() for v in numpy_weights(network.head)[: 2 if over == "all" else 1])
    expected = numpy_cross_entropy(network(pictures.images), pictures.labels) + 0.3 / 2 * distance + 0.7 / 2 * size
    found = L2Sp(alpha=0.3, beta=0.7, over=over).loss(network, step_on(pictures))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_l2_sp_pulls_every_weight_back_by_its_own_distance(pretrained: Network) -> None:
    network, step = shaken(begun(L2Sp(), pretrained, bars(9))), step_on(bars(12, seed=2))
    weights = [*network.backbone.parameters(), *network.head.parameters()]
    with_penalty = torch.autograd.grad(L2Sp(alpha=0.3, beta=0.7).loss(network, step), weights)
    without = torch.autograd.grad(L2Sp(alpha=0.0, beta=0.0).loss(network, step), weights)
    origins = numpy_weights(pretrained.backbone)
    for weight, origin, full, plain in zip(network.backbone.parameters(), origins, with_penalty, without, strict=False):
        expected = 0.3 * (weight.detach().double().numpy() - origin)
        np.testing.assert_allclose((full - plain).numpy(), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose((with_penalty[-1] - without[-1]).numpy(), 0.7 * network.head.bias.detach(), atol=1e-5)


def test_l2_sp_stays_nearer_to_the_source_the_harder_it_pulls(pretrained: Network) -> None:
    def distance(alpha: float) -> float:
        network, strategy = begun(L2Sp(), pretrained, bars(9)), L2Sp(alpha=alpha)
        train(network, strategy, Domains(bars(18, seed=7), bars(9, seed=8)), BRIEF, seed=1)
        pairs = zip(network.backbone.parameters(), pretrained.backbone.parameters(), strict=True)
        return sum((a - b).detach().square().sum().item() for a, b in pairs)

    assert distance(10.0) < distance(0.0) / 2


# BSS


def numpy_weak_share(features: np.ndarray, k: int) -> float:
    squares = np.sort(np.linalg.svd(features, compute_uv=False) ** 2)
    return float(squares[:k].sum() / squares.sum())


@pytest.mark.parametrize("shape", [(8, 20), (20, 8)])
@pytest.mark.parametrize("k", [1, 3, 50])
def test_bss_is_the_share_of_the_smallest_squared_singular_values(shape: tuple[int, int], k: int) -> None:
    features = torch.randn(shape, generator=torch.Generator().manual_seed(k))
    weak, whole = spectrum(features, k)
    assert (weak / whole).item() == pytest.approx(numpy_weak_share(features.double().numpy(), k), rel=1e-4)


def test_bss_has_the_gradient_of_central_differences() -> None:
    features = torch.randn(5, 7, generator=torch.Generator().manual_seed(1), requires_grad=True)
    values = features.detach().double().numpy()
    expected = np.zeros((5, 7))
    for place in np.ndindex(5, 7):
        moved = np.zeros((5, 7))
        moved[place] = 1e-5
        expected[place] = (numpy_weak_share(values + moved, 2) - numpy_weak_share(values - moved, 2)) / 2e-5
    weak, whole = spectrum(features, 2)
    (weak / whole).backward()
    assert features.grad is not None
    np.testing.assert_allclose(features.grad.numpy(), expected, rtol=1e-3, atol=1e-5)


def test_bss_adds_eta_times_the_share_of_the_weaker_directions_to_the_cross_entropy(pretrained: Network) -> None:
    network, pictures = begun(Bss(), pretrained, bars(9)), bars(20, seed=2)
    features = predict(network, pictures.images)[1].double().numpy()
    expected = numpy_cross_entropy(network(pictures.images), pictures.labels) + 30.0 * numpy_weak_share(features, 15)
    found = Bss(eta=30.0, share=0.75).loss(network, step_on(pictures))
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_bss_has_the_papers_penalty_too(pretrained: Network) -> None:
    """eta times the smallest squared singular value: k = 1."""
    network, pictures = begun(Bss(), pretrained, bars(9)), bars(20, seed=2)
    smallest = np.linalg.svd(predict(network, pictures.images)[1].double().numpy(), compute_uv=False)[-1]
    expected = numpy_cross_entropy(network(pictures.images), pictures.labels) + 30.0 * smallest**2
    found = Bss(eta=30.0, share=0.0, form="sum").loss(network, step_on(pictures))
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_bss_copes_with_a_batch_that_repeats_its_pictures() -> None:
    features = torch.randn(4, 10, generator=torch.Generator().manual_seed(1)).repeat(3, 1).requires_grad_(True)
    weak, whole = spectrum(features, 6)
    (weak / whole).backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


# Stochastic normalisation


def two_channels() -> tuple[nn.BatchNorm2d, Tensor]:
    """A batch norm whose moving statistics are mean (1, 0) and variance (4, 1); a batch of two pictures, one place."""
    norm = nn.BatchNorm2d(2, eps=1e-12, momentum=0.5)
    norm.load_state_dict(
        {
            "weight": torch.tensor([3.0, 1.0]),
            "bias": torch.tensor([10.0, 0.0]),
            "running_mean": torch.tensor([1.0, 0.0]),
            "running_var": torch.tensor([4.0, 1.0]),
            "num_batches_tracked": torch.tensor(0),
        }
    )
    return norm, torch.tensor([[[[3.0]], [[-1.0]]], [[[7.0]], [[1.0]]]])


def test_stoch_norm_with_p_of_one_is_batch_norm_in_training_mode() -> None:
    norm, batch = two_channels()
    found = StochasticNorm(copy.deepcopy(norm), p=1.0).train()(batch)
    torch.testing.assert_close(found, norm.train()(batch))
    # By hand: channel 1 has mean 5 and deviation 2, so 3 -> -1 -> 3 * -1 + 10.
    torch.testing.assert_close(found[:, 0].flatten(), torch.tensor([7.0, 13.0]))


def test_stoch_norm_with_p_of_zero_normalises_by_the_moving_statistics_and_still_moves_them() -> None:
    norm, batch = two_channels()
    layer = StochasticNorm(norm, p=0.0).train()
    # By hand: (3 - 1) / 2 * 3 + 10 and (7 - 1) / 2 * 3 + 10; the other channel passes as it is.
    found = layer(batch)
    assert found[:, 0].flatten().tolist() == [13.0, 19.0]
    assert found[:, 1].flatten().tolist() == [-1.0, 1.0]
    # Half way to the batch's mean 5 and unbiased variance 8; and to 0 and 2.
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.running_mean.tolist() == [3.0, 0.0]
    assert norm.running_var.tolist() == [6.0, 1.5]


def test_stoch_norm_differentiates_by_the_statistics_that_it_used() -> None:
    norm, batch = two_channels()
    batch.requires_grad_(True)
    StochasticNorm(norm, p=0.0).train()(batch).sum().backward()
    assert batch.grad is not None
    torch.testing.assert_close(batch.grad.flatten(), torch.tensor([1.5, 1.0, 1.5, 1.0]))  # gamma / sigma: 3 / 2, 1 / 1


def test_stoch_norm_draws_for_each_channel_and_each_pass_anew() -> None:
    torch.manual_seed(0)
    batch = torch.randn(16, 200, 2, 2) + 1
    by_moving, by_batch = batch / (1 + 1e-5) ** 0.5, nn.BatchNorm2d(200).train()(batch)
    draws = []
    for _ in range(2):
        found = StochasticNorm(nn.BatchNorm2d(200), p=0.7).train()(batch)
        of_batch = (found - by_batch).abs().amax(dim=(0, 2, 3)) < 1e-4
        of_moving = (found - by_moving).abs().amax(dim=(0, 2, 3)) < 1e-4
        assert (of_batch ^ of_moving).all(), "a channel is normalised in one way or the other, for all pictures"
        assert 0.6 < of_batch.float().mean() < 0.8
        draws.append(of_batch)
    assert not torch.equal(*draws)


def test_stoch_norm_is_the_source_in_evaluation_and_leaves_plain_batch_norm(pretrained: Network) -> None:
    images = bars(12, seed=5).images
    network = begun(StochNorm(), pretrained, bars(9))
    torch.testing.assert_close(network.features(images), pretrained.eval().features(images))
    before = shaken(network)(images)
    finished = StochNorm().finish(network)
    assert not any(isinstance(module, StochasticNorm) for module in finished.modules())
    torch.testing.assert_close(finished(images), before)


def test_stoch_norm_refuses_a_backbone_without_batch_norm(pretrained: Network) -> None:
    network = copy.deepcopy(pretrained)
    for name in ("0.2", "1.2"):
        network.backbone.set_submodule(name, nn.Identity())
    with pytest.raises(ValueError, match="backbone convnet_tiny has none"):
        StochNorm().adapt(network, OTHER_CLASSES)


# Co-tuning


def test_co_tuning_relates_classes_by_the_sources_mean_prediction() -> None:
    probabilities = torch.tensor([[0.8, 0.2, 0.0], [0.1, 0.1, 0.8], [0.4, 0.6, 0.0]])
    found = direct_relationship(probabilities, torch.tensor([0, 2, 0]), 3)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.4, 0.0], [0.0, 0.0, 0.0], [0.1, 0.1, 0.8]]))


def test_co_tuning_relates_classes_in_reverse_by_bayes_rule() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(30) % 3
    raw = generator.uniform(0, 1, (30, 4))
    raw[np.arange(30), labels] += 2
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    held_out = generator.dirichlet(np.ones(4), 12)
    other = np.arange(12) % 3
    models = [
        LogisticRegression(C=1 / (30 * decay), tol=1e-10, max_iter=10_000).fit(probabilities, labels)
        for decay in 10.0 ** -np.arange(0, 6.5, 0.5)
    ]
    model = min(models, key=lambda one: log_loss(other, one.predict_proba(held_out)))
    temperature = minimize_scalar(
        lambda t: log_loss(other, softmax(model.decision_function(held_out) / t, axis=1)), (1, 2)
    ).x
    joint = softmax(model.decision_function(np.eye(4)) / temperature, axis=1) * probabilities.mean(axis=0)[:, None]
    expected = (joint / joint.sum(axis=0)).T
    validation = torch.from_numpy(held_out), torch.from_numpy(other)
    found = reverse_relationship(torch.from_numpy(probabilities), torch.from_numpy(labels), 3, validation)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


def test_a_related_head_prefers_the_class_whose_mean_prediction_is_nearest_in_cross_entropy() -> None:
    torch.manual_seed(0)
    head, features, labels = nn.Linear(6, 4), torch.randn(30, 6), torch.arange(30) % 3
    found = related_head(head, Split(features, labels, ("a", "b", "c")))
    source = head(features).softmax(dim=1).detach().double().numpy()
    means = np.stack([source[labels.numpy() == label].mean(axis=0) for label in range(3)])
    expected = (means[None] * np.log(source)[:, None]).sum(axis=2)
    found_logits = found(features).detach().double().numpy()
    difference = found_logits - expected
    np.testing.assert_allclose(difference, np.repeat(difference[:, :1], 3, axis=1), atol=1e-5)


def test_co_tuning_learns_the_relationship_that_was_asked_for(pretrained: Network) -> None:
    target = bars(30, seed=4, classes=OTHER_CLASSES)
    tables = [
        begun(CoTuning(relationship=how), pretrained, target).extras["relationship"](torch.arange(2))
        for how in ("direct", "reverse")
    ]
    assert not torch.allclose(*tables)
    torch.testing.assert_close(tables[1].sum(dim=1), torch.ones(2))


@pytest.mark.parametrize(("asked", "described", "used"), [(None, 2.0, 2.0), (3.0, 2.0, 3.0), (None, None, 1.0)])
def test_co_tuning_softens_the_sources_predictions_by_what_is_asked_or_else_by_what_pretraining_found(
    pretrained: Network, asked: float | None, described: float | None, used: float
) -> None:
    target = bars(10, seed=4, classes=OTHER_CLASSES)
    source = copy.deepcopy(pretrained)
    source.description = replace(source.description, temperature=described)
    network = begun(CoTuning(temperature=asked), source, target)
    logits = pretrained.eval()(target.images).detach().double().numpy() / used
    softened = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for label in range(2):
        expected = softened[target.labels.numpy() == label].mean(axis=0)
        found = network.extras["relationship"](torch.tensor([label]))[0]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_co_tuning_supervises_both_heads(pretrained: Network) -> None:
    target = bars(10, seed=4, classes=OTHER_CLASSES)
    network = begun(CoTuning(), pretrained, target)
    table = network.extras["relationship"](torch.arange(2)).double().numpy()
    logits = pretrained.eval()(target.images).detach().double().numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    of_source = -(table[target.labels.numpy()] * log_probabilities).sum(axis=1).mean()
    of_target = numpy_cross_entropy(network(target.images), target.labels)
    found = CoTuning(weight=3.0).loss(network, step_on(target))
    assert found.item() == pytest.approx(of_target + 3.0 * of_source, rel=1e-4)
    found.backward()
    for head in (network.head, network.extras["source_head"]):
        assert head.weight.grad is not None
        assert head.weight.grad.abs().sum() > 0


# DELTA


def features_without(network: Network, name: str, channel: int | None, images: Tensor) -> Tensor:
    """The features of pictures, a channel of a batch norm switched off."""

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
    """alpha / 2 sum over stages of C sum_c a_c |difference in channel c|^2 / places, a picture; a = softmax(z / 5)."""
    target, pictures = bars(18, seed=2), bars(12, seed=3)
    strategy = Delta(alpha=0.64, beta=0.0, form="sum", attention=attention)
    network = shaken(begun(strategy, pretrained, target))
    probe = fit_probe(pretrained, target)
    expected = 0.0
    for name in ("0.2", "1.2"):  # the batch norms; a ReLU in place follows
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
    with pytest.raises(ValueError, match=r"no feature map comes from aside\.0 of backbone convnet_tiny"):
        features_and_maps(unused, images, ["aside.0"])
    assert not any(module._forward_hooks for module in [*pretrained.modules(), *unused.modules()])


class Tokens(nn.Module):
    """A transformer body in small: two tokens a row of the picture, (B, 1, 8, 8) -> (B, T, D) -> (B, D)."""

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
