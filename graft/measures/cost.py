"""What a network costs, counted and not timed: the same on every machine."""

from copy import deepcopy

import torch
from torch.utils.flop_counter import FlopCounterMode

from graft.networks.network import Network


def parameters(network: Network) -> int:
    """How many numbers the network learned; those of `extras` are no part of it."""
    return sum(p.numel() for name, p in network.named_parameters() if not name.startswith("extras."))


def multiply_adds(network: Network) -> int:
    """Multiplications, each with its addition, for one image or text: those of convolutions and matrix products.

    Norms, activations and pooling are left out, as is usual.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        deepcopy(network).eval()(network.example())  # a copy, since evaluation mode cannot be undone module by module
    return int(counter.get_total_flops()) // 2
