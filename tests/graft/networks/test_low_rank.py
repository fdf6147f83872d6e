import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from graft.data.split import Domains
from graft.loop import train
from graft.networks.low_rank import LowRankUpdate, add_low_rank, merge_low_rank
from graft.networks.network import Network
from graft.settings import Training
from graft.strategies.lora import Lora
from tests.graft.pictures import CLASSES, bars, tiny_network

BRIEF = Training(steps=10, batch_size=9, learning_rate=0.02, evaluations=2, keep="last")
OTHER_CLASSES = ("middle", "left", "elsewhere", "right")


def transformer() -> nn.Module:
    return VisionTransformer(8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=12, mlp_dim=20, num_classes=5)


def convolutional() -> nn.Module:
    """A plain, a strided, a grouped and a depthwise convolution, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, stride=2, groups=8),
        nn.Conv2d(8, 12, 1, groups=4, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 9, 5),
    )


bodies = pytest.mark.parametrize("build", [convolutional, transformer])


def updates(body: nn.Module) -> list[LowRankUpdate]:
    return [module for module in body.modules() if isinstance(module, LowRankUpdate)]


def disturbed(build: object, rank: int = 3) -> nn.Module:
    """A backbone with non-zero updates."""
    torch.manual_seed(0)
    body = build()  # type: ignore[operator]
    add_low_rank(body, rank, alpha=6.0)
    for update in updates(body):
        nn.init.normal_(update.up)
    return body.eval()


@bodies
def test_the_start_is_the_source(build: object) -> None:
    torch.manual_seed(0)
    body, images = build().eval(), torch.rand(4, 3, 8, 8)  # type: ignore[operator]
    before = body(images)
    add_low_rank(body, rank=3, alpha=6.0)
    assert torch.equal(body(images), before)


@bodies
def test_merged_equals_unmerged(build: object) -> None:
    body, images = disturbed(build), torch.rand(4, 3, 8, 8)
    unmerged = body(images)
    start = copy.deepcopy(body)
    for update in updates(start):
        nn.init.zeros_(update.up)
    assert (unmerged - start(images)).abs().max() > 0.1, "the updates change what the body says"
    merge_low_rank(body)
    torch.testing.assert_close(body(images), unmerged)
    plain = build()  # type: ignore[operator]
    plain.load_state_dict(body.state_dict())
    torch.testing.assert_close(plain.eval()(images), unmerged)


def test_an_update_is_alpha_over_r_times_b_a_and_has_no_higher_rank() -> None:
    body = disturbed(convolutional)
    plain = copy.deepcopy(body)
    merge_low_rank(plain)
    for number, shape in ((0, (8, 27)), (2, (8, 9)), (3, (12, 2)), (6, (5, 108))):
        update = body[number].parametrizations.weight[0]  # type: ignore[index, union-attr]
        rank = min(3, *shape)
        b, a = update.up.detach().numpy(), update.down.detach().numpy()
        assert (b.shape, a.shape) == ((shape[0], rank), (rank, shape[1]))
        start = body[number].parametrizations.weight.original.detach().numpy().reshape(shape)  # type: ignore[index, union-attr]
        found = plain[number].weight.detach().numpy().reshape(shape)  # type: ignore[index, union-attr]
        np.testing.assert_allclose(found, start + 6.0 / rank * b @ a, rtol=1e-5, atol=1e-5)
        assert np.linalg.matrix_rank(found - start, tol=1e-4) == rank


def test_only_updates_norms_and_the_head_learn() -> None:
    network = Lora(rank=2).adapt(tiny_network(), CLASSES)
    kernels = 2 * (16 + 9) + 2 * (32 + 16 * 9)  # r (O + I) of the two convolutions of convnet_tiny
    norms, head = 2 * 16 + 2 * 32, 32 * 3 + 3
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == kernels + norms + head


@pytest.mark.parametrize(
    ("norms", "statistics_move", "scale_moves"),
    [("frozen", False, False), ("statistics", True, False), ("trained", True, True)],
)
def test_norms_move_as_far_as_the_knob_lets_them(norms: str, statistics_move: bool, scale_moves: bool) -> None:
    source = tiny_network(seed=3)
    before = copy.deepcopy(source.backbone.state_dict())
    strategy = Lora(norms=norms)  # type: ignore[arg-type]
    network = strategy.adapt(source, CLASSES)
    train(network, strategy, Domains(bars(30), bars(12, seed=1)), BRIEF)
    after = strategy.finish(network).backbone.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert ("0.2.running_mean" in moved) == statistics_move
    assert ("0.2.weight" in moved) == scale_moves
    assert {"0.0.weight", "1.0.weight"} <= moved


def test_the_finished_network_has_plain_names_and_predicts_as_the_trained_one_did() -> None:
    strategy, images = Lora(), bars(12, seed=5).images
    network = strategy.adapt(tiny_network(seed=3), OTHER_CLASSES)
    target = bars(36, classes=OTHER_CLASSES)
    train(network, strategy, Domains(target, target), replace(BRIEF, keep="best_validation"))
    trained = network.eval()(images)
    finished = strategy.finish(network)
    assert set(finished.state_dict()) == set(Network(finished.description).state_dict())
    torch.testing.assert_close(finished.eval()(images), trained)
