"""Features of a frozen backbone, computed once: an epoch over them costs almost nothing.

Legend: N images, V views, D features.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from graft.data.augment import augment
from graft.data.on_disk import in_memory
from graft.data.split import Domains, Split
from graft.networks.network import Network, as_read, at_a_time, channels_last
from graft.settings import Augmentation


def cache_features(network: Network, domains: Domains, views: int, how: Augmentation, seed: int) -> Domains:
    """The domains with features (N, D) instead of images, on the network's device.

    The target's training images are encoded `views` times (N * V, D): once as they are, then augmented with `how`.
    All other images are encoded once, as they are. Without augmentation one view is enough, as all would be equal.
    """
    generator = torch.Generator().manual_seed(seed)
    more = views - 1 if how != Augmentation() else 0
    plain = domains.map(lambda split: _seen(network, split))
    varied = [_seen(network, domains.target, lambda part: augment(part, how, generator)) for _ in range(more)]
    return replace(plain, target=_joined([plain.target, *varied]))


@torch.no_grad()
def _seen(network: Network, split: Split, vary: Callable[[Tensor], Tensor] = lambda part: part) -> Split:
    """The split with features instead of images, computed in evaluation mode."""
    network.eval()
    found = []
    for part in split.images.split(at_a_time(split.images)):  # independent of the device, so that augmentation is too
        read = channels_last(vary(as_read(part)))
        found += [network.features(some).float() for some in read.split(at_a_time(read, read.device))]
    return replace(split, images=torch.cat(found))


def _joined(splits: list[Split]) -> Split:
    """One split with the images of all."""
    images = torch.cat([in_memory(split.images) for split in splits])
    return replace(splits[0], images=images, labels=torch.cat([split.labels for split in splits]))
