"""The running statistics of batch norm, and the domain that they describe.

In evaluation mode they replace the statistics of the batch. A network that trains on batches of two domains keeps a
mixture of both unless one of them is excluded.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from graft.data.on_disk import Images, taken
from graft.networks.network import Network, at_a_time


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers within a module that keep running statistics."""
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """In this context, batches pass through `module` in training mode without changing the running statistics."""
    layers = batch_norms(module)
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum


@torch.no_grad()
def estimate_statistics(network: Network, images: Images, batch_size: int | None = None) -> None:
    """Replace the running statistics by their mean over equally large batches of images (N, C, H, W).

    The images are shuffled with a fixed seed: in their stored order, class by class, a batch would hold one or two
    classes, and the variance between classes would be missing.
    """
    layers = batch_norms(network.backbone)
    before = [layer.momentum for layer in layers]
    network.eval()  # keeps dropout and the like off
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch then computes a cumulative mean
        layer.train()
    device = next(network.parameters()).device
    shuffled = taken(images, torch.randperm(len(images), generator=torch.Generator().manual_seed(0)))
    for batch in shuffled.tensor_split(-(-len(images) // (batch_size or at_a_time(images)))):
        network.features(batch.to(device))
    for layer, momentum in zip(layers, before, strict=True):
        layer.momentum = momentum
    network.eval()
