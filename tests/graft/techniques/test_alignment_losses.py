"""Alignment losses compared with independent computations; gradient reversal and the discriminators."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np
import pytest
import torch
from torch import nn

from graft.techniques.alignment import AlignmentName, build_alignment
from graft.techniques.alignment.adversarial import Discriminator, reversal_strength, reverse_gradient
from graft.techniques.alignment.base import Outputs
from graft.techniques.alignment.cdan import CdanAlignment
from graft.techniques.alignment.coral import coral
from graft.techniques.alignment.mcc import class_confusion
from graft.techniques.alignment.mmd import FACTORS, mmd

NAMES = get_args(AlignmentName)


def normal(n: int, d: int, *, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (n, d))


def outputs(n: int = 8, d: int = 6, classes: int = 3, seed: int = 0, shift: float = 0.0) -> Outputs:
    features = torch.from_numpy(normal(n, d, seed=seed, shift=shift)).float().requires_grad_()
    return Outputs(features, torch.from_numpy(normal(n, classes, seed=seed + 100)).float().requires_grad_())


# The losses, against independent computations


def mean_distance(source: np.ndarray, target: np.ndarray) -> float:
    both = np.concatenate([source, target])
    return float(np.mean([((a - b) ** 2).sum() for i, a in enumerate(both) for j, b in enumerate(both) if i != j]))


def mmd_by_pairs(source: np.ndarray, target: np.ndarray, bandwidth: float) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([np.exp(-((a - b) ** 2).sum() / (factor * bandwidth)) for factor in FACTORS]))

    within = [
        np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]) for x in (source, target)
    ]
    return float(within[0] + within[1] - 2 * np.mean([kernel(a, b) for a in source for b in target]))


def slopes(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """The gradient, by central differences."""
    moves = step * np.eye(at.size).reshape(at.size, *at.shape)
    return np.array([(function(at + move) - function(at - move)) / (2 * step) for move in moves]).reshape(at.shape)


def test_mmd_agrees_with_pairs_counted_one_by_one() -> None:
    source, target = normal(5, 3), normal(7, 3, shift=0.5, seed=1)
    expected = mmd_by_pairs(source, target, mean_distance(source, target))
    assert mmd(torch.from_numpy(source), torch.from_numpy(target)).item() == pytest.approx(expected, rel=1e-9)


def test_the_bandwidth_of_mmd_is_a_constant_to_its_gradient() -> None:
    source, target = normal(4, 2), normal(5, 2, shift=0.5, seed=1)
    bandwidth = mean_distance(source, target)
    expected = slopes(lambda moved: mmd_by_pairs(moved, target, bandwidth), source)
    given = torch.from_numpy(source).requires_grad_()
    mmd(given, torch.from_numpy(target)).backward()
    assert given.grad is not None
    np.testing.assert_allclose(given.grad.numpy(), expected, rtol=1e-5, atol=1e-9)


def test_mmd_is_unbiased_and_grows_with_the_distance_of_the_domains() -> None:
    def average(shift: float) -> float:
        draws = [(normal(20, 4, seed=2 * i), normal(20, 4, shift=shift, seed=2 * i + 1)) for i in range(200)]
        return float(np.mean([mmd(torch.from_numpy(a), torch.from_numpy(b)).item() for a, b in draws]))

    assert abs(average(0.0)) < 0.004  # a biased estimate is near 0.06
    assert 0.01 < average(0.5) < average(1.0)


def test_coral_agrees_with_numpys_covariances_and_ignores_the_means() -> None:
    source, target = normal(9, 4), normal(6, 4, shift=3, scale=2, seed=1)
    difference = np.cov(source, rowvar=False) - np.cov(target, rowvar=False)
    expected = (difference**2).sum() / (4 * 4**2)
    assert coral(torch.from_numpy(source), torch.from_numpy(target)).item() == pytest.approx(expected, rel=1e-9)
    assert coral(torch.from_numpy(source), torch.from_numpy(source + 5)).item() == pytest.approx(0, abs=1e-12)


def softened(logits: np.ndarray, temperature: float) -> np.ndarray:
    p = np.exp(logits / temperature)
    return p / p.sum(axis=1, keepdims=True)


def certainty_weights(p: np.ndarray) -> np.ndarray:
    certainty = 1 + np.exp((p * np.log(p)).sum(axis=1))
    return len(p) * certainty / certainty.sum()


def confusion(p: np.ndarray, weights: np.ndarray) -> float:
    correlation = np.array([[sum(weights * p[:, i] * p[:, j]) for j in range(4)] for i in range(4)])
    shares = correlation / correlation.sum(axis=1, keepdims=True)
    return float(sum(shares[i, j] for i in range(4) for j in range(4) if i != j) / 4)


def test_class_confusion_agrees_with_the_papers_steps_in_numpy() -> None:
    logits = normal(10, 4, scale=3)
    p = softened(logits, 2.5)
    found = class_confusion(torch.from_numpy(logits), 2.5).item()
    assert found == pytest.approx(confusion(p, certainty_weights(p)), rel=1e-9)


def test_the_weights_of_class_confusion_are_constants_to_its_gradient() -> None:
    logits = normal(6, 4, scale=3)
    weights = certainty_weights(softened(logits, 2.5))
    expected = slopes(lambda moved: confusion(softened(moved, 2.5), weights), logits)
    given = torch.from_numpy(logits).requires_grad_()
    class_confusion(given, 2.5).backward()
    assert given.grad is not None
    np.testing.assert_allclose(given.grad.numpy(), expected, rtol=1e-5, atol=1e-9)


def test_sure_predictions_confuse_no_classes_and_unsure_ones_all() -> None:
    assert class_confusion(100 * torch.eye(4), 1.0).item() == pytest.approx(0, abs=1e-6)
    assert class_confusion(torch.zeros(5, 4), 1.0).item() == pytest.approx(3 / 4)


# Gradient reversal and the discriminators


def test_a_reversed_gradient_worked_by_hand() -> None:
    x = torch.tensor([2.0], requires_grad=True)
    y = reverse_gradient(3 * x, 0.5)
    assert y.item() == 6.0  # unchanged in the forward pass
    (y**2).sum().backward()
    assert x.grad is not None
    assert x.grad.item() == -0.5 * (2 * 6) * 3  # d(y²)/dy = 12, times -0.5 in the backward pass, times dy/dx = 3


def test_the_reversal_grows_from_nothing_to_one() -> None:
    assert reversal_strength(0.0) == 0.0
    assert reversal_strength(0.1) == pytest.approx((math.e - 1) / (math.e + 1))
    assert reversal_strength(1.0) == pytest.approx(1, abs=1e-4)


def test_dann_trains_the_discriminator_forwards_and_the_features_backwards() -> None:
    torch.manual_seed(0)
    dann = build_alignment("dann", 6, 3)
    source, target = outputs(), outputs(seed=1, shift=1.0)
    loss = dann(source, target, 0.2)
    features = [source.features, target.features]
    reversed_, learned = torch.autograd.grad(loss, features, retain_graph=True), list(dann.parameters())
    forwards = torch.autograd.grad(loss, learned)

    discriminator = cast(Discriminator, dann.discriminator)
    logits = discriminator.layers(torch.cat(features)).flatten()
    is_target = torch.tensor([0.0] * 8 + [1.0] * 8)
    plain = nn.functional.binary_cross_entropy_with_logits(logits, is_target)
    torch.testing.assert_close(loss, plain)
    for ours, theirs in zip(reversed_, torch.autograd.grad(plain, features, retain_graph=True), strict=True):
        torch.testing.assert_close(ours, -reversal_strength(0.2) * theirs)
    for ours, theirs in zip(forwards, torch.autograd.grad(plain, learned), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_discriminator_counts_pictures_by_their_weights_and_both_domains_alike() -> None:
    discriminator = Discriminator(1)
    discriminator.layers = nn.Identity()  # the inputs are the logits
    source, target = torch.tensor([[0.5], [-1.0]]), torch.tensor([[2.0], [0.0], [-3.0]])
    weights = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 1.0, 1.0])
    of_source = [-math.log(1 - 1 / (1 + math.exp(-x))) for x in (0.5, -1.0)]
    of_target = [-math.log(1 / (1 + math.exp(-x))) for x in (2.0, 0.0, -3.0)]
    expected = (np.average(of_source, weights=[1, 3]) + np.average(of_target, weights=[2, 1, 1])) / 2
    assert discriminator(source, target, weights).item() == pytest.approx(expected, rel=1e-6)


def test_cdan_shows_the_discriminator_the_outer_product() -> None:
    cdan = CdanAlignment(6, 3)
    f, g = normal(2, 6), normal(2, 3, seed=1)
    product = cdan.product(torch.from_numpy(f), torch.from_numpy(g))
    np.testing.assert_allclose(product.numpy(), [np.outer(a, b).flatten() for a, b in zip(f, g, strict=True)])


def test_cdans_random_map_keeps_inner_products_of_large_outer_products() -> None:
    torch.manual_seed(0)
    cdan = CdanAlignment(500, 10)
    assert cast(nn.Linear, cdan.discriminator.layers[0]).in_features == 1024
    f, g = torch.randn(2, 500), torch.rand(2, 10)
    f[1] = f[0] + 0.3 * f[1]
    mapped = cdan.product(f, g)
    assert (mapped[0] @ mapped[1]).item() == pytest.approx((f[0] @ f[1] * (g[0] @ g[1])).item(), rel=0.25)


def test_cdan_with_entropy_weights_counts_sure_pictures_more() -> None:
    source, target = outputs(), outputs(seed=1, shift=1.0)
    sure = replace(target, logits=target.logits.detach() * torch.tensor([50.0] * 4 + [0.0] * 4)[:, None])

    def loss(entropy_weights: bool) -> float:
        torch.manual_seed(0)
        return CdanAlignment(6, 3, entropy_weights=entropy_weights)(source, sure).item()

    assert loss(True) != loss(False)
    torch.manual_seed(0)
    cdan = CdanAlignment(6, 3, entropy_weights=False)
    seen = [cdan.product(o.features, o.logits.softmax(dim=1)) for o in (source, sure)]
    p = source.logits.detach().softmax(dim=1).numpy()
    weights = torch.from_numpy(1 + np.exp((p * np.log(p)).sum(axis=1)))
    of_target = torch.tensor([2.0] * 4 + [1 + 1 / 3] * 4)  # entropies 0 and log 3
    assert loss(True) == pytest.approx(cdan.discriminator(*seen, (weights, of_target)).item(), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_alignment_computes_in_float32_whatever_autocast_says(name: Any) -> None:
    torch.manual_seed(0)
    loss, source, target = build_alignment(name, 6, 3), outputs(), outputs(seed=1)
    expected = loss(source, target, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(source, target, 0.5)
    assert found.dtype == torch.float32
    assert found.item() == expected.item()
