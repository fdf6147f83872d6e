import copy

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from graft.data.inputs import Pictures
from graft.data.split import Domains
from graft.loop import train
from graft.networks.backbones import build_backbone
from graft.networks.layers import layers
from graft.networks.network import Description, Network
from graft.settings import Training
from graft.strategies.layer_transfer import LayerTransfer
from tests.graft.pictures import CLASSES, bars

BRIEF = Training(steps=6, batch_size=9, learning_rate=0.01, evaluations=2, keep="last", batch_norm="train")
OTHER_CLASSES = ("middle", "left", "elsewhere", "right")


def network(seed: int = 0, backbone: str = "convnet_small") -> Network:
    torch.manual_seed(seed)
    return Network(Description(backbone, CLASSES, 1, 8))


def adapted(strategy: LayerTransfer, source: Network, seed: int = 7) -> Network:
    torch.manual_seed(seed)
    return strategy.adapt(source, OTHER_CLASSES)


def from_source(found: Network, source: Network) -> list[str]:
    """Names of the backbone's weights that equal the source's, without norms that are fresh in both."""
    theirs = source.backbone.state_dict()
    return [name for name, value in found.backbone.state_dict().items() if torch.equal(value, theirs[name])]


def distinct(seed: int) -> Network:
    """A source network in which no weight has its initial value."""
    source = network(seed)
    for value in source.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) + 0.1)
        else:
            value.add_(5)
    return source


def test_layers_hold_every_weight_once_with_its_kind() -> None:
    body = VisionTransformer(8, patch_size=4, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16)
    body.heads = nn.Identity()
    names = {id(module): name for name, module in body.named_modules()}
    every = {names[id(layer.module)]: (layer.kind, layer.stage) for layer in layers(body)}
    block = "encoder.layers.encoder_layer_1"
    others = ("encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_2")
    assert {name: place for name, place in every.items() if not name.startswith(others)} == {
        "": ("embedding", 0),  # the class token
        "encoder": ("embedding", 0),  # the positions
        "conv_proj": ("convolutional", 0),
        f"{block}.ln_1": ("linear", 2),
        f"{block}.self_attention": ("linear", 2),
        f"{block}.self_attention.out_proj": ("linear", 2),
        f"{block}.ln_2": ("linear", 2),
        f"{block}.mlp.0": ("linear", 2),
        f"{block}.mlp.3": ("linear", 2),
        "encoder.ln": ("linear", 3),
    }


@pytest.mark.parametrize("name", ["convnet_tiny", "torchvision:resnet18", "torchvision:mobilenet_v3_small"])
def test_layers_of_a_convolutional_body_hold_every_weight_once(name: str) -> None:
    body, _ = build_backbone(name, Pictures(1, 32))
    own = [id(p) for layer in layers(body) for p in layer.module.parameters(recurse=False)]
    assert sorted(own) == sorted(id(p) for p in body.parameters())


@pytest.mark.parametrize(
    ("depth", "which", "stages"),
    [
        (0.0, "first", []),
        (0.01, "first", [0]),
        (0.3, "first", [0]),
        (2 / 3, "first", [0, 1]),
        (1.0, "first", [0, 1, 2]),
        (0.0, "last", []),
        (1 / 3, "last", [2]),
        (0.7, "last", [1, 2]),
    ],
)
def test_depth_counts_stages_from_the_picture_or_from_the_head(depth: float, which: str, stages: list[int]) -> None:
    source = distinct(3)
    found = adapted(LayerTransfer(depth=depth, which=which), source)  # type: ignore[arg-type]
    expected = [name for name in source.backbone.state_dict() if int(name[0]) in stages]
    assert from_source(found, source) == expected
    assert found.description.classes == OTHER_CLASSES


def test_what_is_not_transferred_starts_as_in_a_new_network() -> None:
    found = adapted(LayerTransfer(depth=1 / 3), distinct(3), seed=7)
    fresh = network(7)
    for number in (1, 2):
        assert all(
            torch.equal(a, b)
            for a, b in zip(found.backbone[number].parameters(), fresh.backbone[number].parameters(), strict=True)
        )


@pytest.mark.parametrize("tuned", [True, False])
def test_transferred_layers_are_frozen_or_tuned_statistics_included(tuned: bool) -> None:
    source, strategy = distinct(3), LayerTransfer(depth=2 / 3, tuned=tuned)
    found = adapted(strategy, source)
    before, target = copy.deepcopy(found.backbone.state_dict()), bars(36, classes=OTHER_CLASSES)
    train(found, strategy, Domains(target, target), BRIEF)
    after = strategy.finish(found).backbone.state_dict()
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == (set() if tuned else {name for name in before if name[0] in "01"})


def test_only_layers_of_the_chosen_kind_are_transferred() -> None:
    source = network(3, "torchvision:mobilenet_v3_small")
    found = adapted(LayerTransfer(depth=1.0, kinds="linear"), source)
    linear = {name for name, module in source.backbone.named_modules() if isinstance(module, nn.Linear)}
    weights = [n for n in from_source(found, source) if source.backbone.state_dict()[n].ndim > 1]
    assert weights == [f"{name}.weight" for name in linear]


def test_a_kind_that_is_not_there_is_refused_with_those_that_are() -> None:
    message = "the first 2 of 3 stages of convnet_small have no linear layers; they have: convolutional"
    with pytest.raises(ValueError, match=message):
        adapted(LayerTransfer(depth=0.7, kinds="linear"), network())


def test_a_sweep_leaves_out_the_depths_without_layers_of_the_kind() -> None:
    source = Network(Description("torchvision:mobilenet_v3_small", CLASSES, 3, 32))
    found = LayerTransfer(sweep=True, kinds="linear", depth=1.0).companions(source)
    assert list(found) == ["depth 0", "depth 14"], "its one fully connected layer is the last stage"


def test_a_sweep_trains_a_network_for_each_depth_beside_it() -> None:
    source = distinct(3)
    assert LayerTransfer().companions(source) == {}
    found = LayerTransfer(sweep=True, tuned=False).companions(source)
    assert list(found) == ["depth 0", "depth 1", "depth 2", "depth 3"]
    for count, strategy in enumerate(found.values()):
        assert isinstance(strategy, LayerTransfer)
        assert (strategy.sweep, strategy.tuned) == (False, False)
        transferred = {name[0] for name in from_source(adapted(strategy, source), source)}
        assert transferred == set("012"[:count])
