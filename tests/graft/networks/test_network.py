import json

import pytest
import torch

from graft.data.inputs import Pictures
from graft.networks.backbones import build_backbone
from graft.networks.heads import matched_head
from graft.networks.network import Description, predict
from tests.graft.pictures import bars, tiny_network


@pytest.mark.parametrize(
    "name", ["convnet_tiny", "convnet_small", "torchvision:resnet18", "torchvision:mobilenet_v3_small"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_backbone_gives_as_many_features_as_it_says(name: str, channels: int) -> None:
    backbone, size = build_backbone(name, Pictures(channels, 32))
    assert backbone.eval()(torch.rand(2, channels, 32, 32)).shape == (2, size)


def test_unknown_backbones_name_near_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown backbone 'resnet'.*convnet_small.*torchvision:"):
        build_backbone("resnet", Pictures(3, 32))
    with pytest.raises(ValueError, match=r"torchvision has no classifier 'resnet19'; similar names: .*resnet18"):
        build_backbone("torchvision:resnet19", Pictures(3, 32))


def test_a_description_survives_json() -> None:
    description = Description("convnet_tiny", ("a", "b"), 3, 24, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 1.5)
    assert Description.from_dict(json.loads(json.dumps(description.to_dict()))) == description


def test_a_description_that_was_written_before_temperatures_has_none() -> None:
    values = Description("convnet_tiny", ("a", "b"), 3, 24).to_dict()
    del values["temperature"]
    assert Description.from_dict(values).temperature is None


def test_bytes_and_floats_of_the_same_picture_are_the_same_to_a_network() -> None:
    network, images = tiny_network().eval(), bars(6).images
    torch.testing.assert_close(network(images), network(images.float() / 255))


def test_prediction_does_not_depend_on_the_batch_size() -> None:
    network, images = tiny_network(), bars(30).images
    whole, features = predict(network, images)
    parts, _ = predict(network, images, batch_size=7)
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(whole.sum(dim=1), torch.ones(30))
    assert features.shape == (30, network.feature_size)


def test_a_matched_head_keeps_the_rows_of_known_classes() -> None:
    network = tiny_network(("a", "b", "c"))
    old = network.head.weight.clone()
    matched_head(network, ("c", "new", "a"))
    assert torch.equal(network.head.weight[0], old[2])
    assert torch.equal(network.head.weight[2], old[0])
    assert network.description.classes == ("c", "new", "a")
