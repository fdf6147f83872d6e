import copy

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from graft.contract import Batch, Step
from graft.data.inputs import Pictures
from graft.data.split import Domains
from graft.loop import train
from graft.networks.backbones import build_backbone
from graft.networks.network import Network
from graft.networks.stages import keep_frozen_statistics, stages
from graft.settings import Training
from graft.strategies.fine_tune import FineTune
from graft.strategies.gradual_unfreeze import GradualUnfreeze
from tests.graft.pictures import CLASSES, bars, tiny_network

BRIEF = Training(steps=8, batch_size=9, learning_rate=0.01, evaluations=2, keep="last")


def transformer() -> nn.Module:
    return VisionTransformer(16, patch_size=4, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16)


def bodies() -> list[tuple[str, nn.Module]]:
    names = ("convnet_tiny", "torchvision:resnet18", "torchvision:mobilenet_v3_small", "torchvision:densenet121")
    return [(name, build_backbone(name, Pictures(channels, 32))[0]) for name in names for channels in (1, 3)]


def test_every_weight_is_in_exactly_one_stage() -> None:
    for name, body in [*bodies(), ("transformer", transformer())]:
        found = [id(p) for stage in stages(body) for p in stage.parameters]
        assert len(found) == len(set(found)), name
        assert set(found) == {id(p) for p in body.parameters()}, name


@pytest.mark.parametrize("channels", [1, 3])
def test_a_residual_network_has_its_blocks_as_stages_from_the_picture_on(channels: int) -> None:
    names = [stage.names for stage in stages(build_backbone("torchvision:resnet18", Pictures(channels, 32))[0])]
    blocks = [(f"layer{layer}.{block}",) for layer in (1, 2, 3, 4) for block in (0, 1)]
    assert names == [("conv1", "bn1"), *blocks]


def test_a_transformer_has_its_blocks_as_stages_and_loose_weights_in_the_first() -> None:
    body = transformer()
    body.heads = nn.Identity()
    found = stages(body)
    blocks = [f"encoder.layers.encoder_layer_{number}" for number in range(3)]
    assert [stage.names for stage in found] == [("conv_proj",), (blocks[0],), (blocks[1],), (blocks[2], "encoder.ln")]
    assert {id(body.class_token), id(body.encoder.pos_embedding)} < {id(p) for p in found[0].parameters}


def test_rows_of_blocks_are_opened_and_convolutions_with_their_norms_are_not() -> None:
    body, _ = build_backbone("torchvision:regnet_y_400mf", Pictures(3, 32))
    assert [stage.names[0] for stage in stages(body)][:4] == [
        "stem",
        "trunk_output.block1.block1-0",
        "trunk_output.block2.block2-0",
        "trunk_output.block2.block2-1",
    ]


def test_frozen_batch_norms_keep_their_statistics_and_others_do_not() -> None:
    network = tiny_network().train()
    first, second = network.backbone[0], network.backbone[1]
    first.requires_grad_(False)
    keep_frozen_statistics(network.backbone)
    before = copy.deepcopy(network.backbone.state_dict())
    network(bars(9).images)
    assert torch.equal(first[2].running_mean, before["0.2.running_mean"])
    assert not torch.equal(second[2].running_mean, before["1.2.running_mean"])
    network.train()
    assert first[2].training, "the next call of train() asks for it again"


def test_fine_tune_learns_slower_next_to_the_picture() -> None:
    network = tiny_network()
    head, *rest = FineTune(backbone_rate=0.5, layer_decay=0.1).parameter_groups(network)
    assert (head.rate, [group.rate for group in rest]) == (1.0, pytest.approx([0.05, 0.5]))
    assert [list(group.parameters) for group in rest] == [list(block.parameters()) for block in network.backbone[:2]]
    assert [group.rate for group in FineTune().parameter_groups(network)] == [1.0, 1.0, 1.0]


def gradients_at(progress: float, until: float) -> tuple[list[bool], Network]:
    """Whether a gradient reaches the head, the last stage and the first stage."""
    strategy, pictures = GradualUnfreeze(until=until), bars(9)
    network = strategy.adapt(tiny_network(), CLASSES)
    strategy.begin(network, Domains(pictures, pictures))
    strategy.train_mode(network)
    strategy.loss(network, Step(Batch(pictures.images, pictures.labels), progress)).backward()
    parts = (network.head, network.backbone[1], network.backbone[0])
    return [all(p.grad is not None for p in part.parameters()) for part in parts], network


@pytest.mark.parametrize(
    ("progress", "reached"),
    [
        (0.0, [True, False, False]),
        (0.39, [True, False, False]),
        (0.4, [True, True, False]),
        (0.79, [True, True, False]),
        (0.8, [True, True, True]),
        (1.0, [True, True, True]),
    ],
)
def test_stages_thaw_from_the_head_down(progress: float, reached: list[bool]) -> None:
    found, network = gradients_at(progress, until=0.8)
    assert found == reached
    initial = tiny_network().backbone
    for number, thawed in ((1, reached[1]), (0, reached[2])):
        moved = not torch.equal(network.backbone[number][2].running_mean, initial[number][2].running_mean)
        assert moved == thawed, "frozen stages keep their batch-norm statistics"


def test_no_graph_is_built_for_frozen_stages() -> None:
    seen: list[bool] = []
    strategy, pictures = GradualUnfreeze(until=1.0), bars(9)
    network = strategy.adapt(tiny_network(), CLASSES)
    network.backbone.register_forward_hook(lambda _, __, features: seen.append(features.requires_grad))
    train(network, strategy, Domains(pictures, pictures), BRIEF)
    in_training = [seen[0], seen[7 + 1]]  # the first step, and the last, after one evaluation
    assert in_training == [False, True]


def test_what_is_frozen_when_training_ends_is_thawed_in_the_finished_network() -> None:
    _, network = gradients_at(0.0, until=1.0)
    assert not any(p.requires_grad for p in network.backbone.parameters())
    finished = GradualUnfreeze().finish(network)
    assert all(p.requires_grad for p in finished.parameters())
    assert not finished.extras


def test_gradual_unfreezing_moves_all_weights() -> None:
    strategy, pictures, source = GradualUnfreeze(), bars(18), tiny_network(seed=3)
    network = strategy.adapt(copy.deepcopy(source), CLASSES)
    train(network, strategy, Domains(pictures, pictures), BRIEF)
    finished = strategy.finish(network)
    for a, b in zip(finished.parameters(), source.parameters(), strict=True):
        assert not torch.equal(a, b)
    assert list(finished.state_dict()) == list(source.state_dict())
