"""The cost of a network, counted rather than timed: the same on every machine."""

from copy import deepcopy

import torch
from torch.utils.flop_counter import FlopCounterMode

from graft.networks.network import Network


def parameters(network: Network) -> int:
    """Number of parameters of the network, without those of `extras`."""
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith("extras."))


def multiply_adds(network: Network) -> int:
    """Multiply-add operations (MACs) for one image or text, of convolutions and matrix products.

    Norms, activations and pooling are not counted, as is usual.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        deepcopy(network).eval()(network.example())  # a copy, so that the mode of each module stays as it is
    return int(counter.get_total_flops()) // 2
