"""Batch norm's running statistics: of which domain they are.

In evaluation they stand in for the batch's own. A network whose batches come from two domains keeps a mixture of both
unless one of them is kept out.
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
    """Within it, batches pass through `module` in training mode without leaving a trace in the running statistics."""
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
    """Replace the running statistics by the mean over batches, alike in size, of images (N, C, H, W).

    The images are shuffled, always alike: as they are stored, class by class, a batch would hold one class or two,
    and what lies between classes would be missing from the variance.
    """
    layers = batch_norms(network.backbone)
    before = [layer.momentum for layer in layers]
    network.eval()  # dropout and the like stay off
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's sign for a cumulative mean
        layer.train()
    device = next(network.parameters()).device
    shuffled = taken(images, torch.randperm(len(images), generator=torch.Generator().manual_seed(0)))
    for batch in shuffled.tensor_split(-(-len(images) // (batch_size or at_a_time(images)))):
        network.features(batch.to(device))
    for layer, momentum in zip(layers, before, strict=True):
        layer.momentum = momentum
    network.eval()
