import pytest
import torch
from torch import nn
from torchvision.models import ResNet18_Weights

from graft.measures.cost import multiply_adds, parameters
from graft.networks.network import Description, Network
from tests.graft.pictures import tiny_network


def test_a_small_network_costs_what_it_does_by_hand() -> None:
    network = tiny_network(size=8)
    convolutions = 8 * 8 * 9 * 1 * 16 + 4 * 4 * 9 * 16 * 32  # positions x kernel x input channels x output channels
    assert multiply_adds(network) == convolutions + 32 * 3
    norms = 2 * (16 + 32)
    assert parameters(network) == 9 * 16 + 9 * 16 * 32 + norms + 32 * 3 + 3


def test_resnet18_costs_what_torchvision_states() -> None:
    stated = ResNet18_Weights.IMAGENET1K_V1.meta
    network = Network(Description("torchvision:resnet18", tuple(stated["categories"]), 3, 224))
    assert parameters(network) == stated["num_params"]
    assert multiply_adds(network) / 1e9 == pytest.approx(stated["_ops"], abs=0.001)


def test_counting_leaves_the_network_alone_and_extras_out() -> None:
    network = tiny_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    costs = multiply_adds(network), parameters(network)
    assert network.training
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    network.extras["source_head"] = nn.Linear(32, 500)
    assert (multiply_adds(network), parameters(network)) == costs
