"""Fine-tuning against forgetting and overfitting: each penalty compared with NumPy or a hand-computed case."""

import copy
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graft.contract import Strategy
from graft.data.split import Domains
from graft.loop import train
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies.bss import Bss, spectrum
from graft.strategies.co_tuning import CoTuning
from graft.strategies.delta import Delta
from graft.strategies.l2_sp import L2Sp
from graft.strategies.stoch_norm import StochasticNorm, StochNorm
from tests.graft.penalties import begun, numpy_cross_entropy, numpy_weights, pretrained_network, shaken, step_on
from tests.graft.pictures import bars

BRIEF = Training(steps=8, batch_size=9, learning_rate=0.01, evaluations=2)
OTHER_CLASSES = ("elsewhere", "right")

all_of_them = pytest.mark.parametrize("strategy", [L2Sp(), Delta(), Bss(), StochNorm(), CoTuning()], ids=repr)


@pytest.fixture(scope="module")
def pretrained() -> Network:
    return pretrained_network()


# All of them


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
    """A batch norm with moving mean (1, 0) and variance (4, 1); a batch of two images of one pixel."""
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
    # By hand: channel 1 has mean 5 and standard deviation 2, so 3 -> -1 -> 3 * -1 + 10.
    torch.testing.assert_close(found[:, 0].flatten(), torch.tensor([7.0, 13.0]))


def test_stoch_norm_with_p_of_zero_normalises_by_the_moving_statistics_and_still_moves_them() -> None:
    norm, batch = two_channels()
    layer = StochasticNorm(norm, p=0.0).train()
    # By hand: (3 - 1) / 2 * 3 + 10 and (7 - 1) / 2 * 3 + 10; the other channel passes unchanged.
    found = layer(batch)
    assert found[:, 0].flatten().tolist() == [13.0, 19.0]
    assert found[:, 1].flatten().tolist() == [-1.0, 1.0]
    # Halfway to the batch's mean 5 and unbiased variance 8; and to 0 and 2.
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
        assert (of_batch ^ of_moving).all(), "a channel is normalised in one way or the other, for all images"
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
