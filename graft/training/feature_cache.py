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


def holds_features(split: Split) -> bool:
    """Whether it holds features (N, D) instead of images or texts."""
    return split.images.ndim == 2 and isinstance(split.images, Tensor) and split.images.is_floating_point()


def cache_features(network: Network, domains: Domains, views: int, how: Augmentation, seed: int) -> Domains:
    """The domains with features (N, D) instead of images, on the network's device.

    The target's training images are encoded `views` times (N * V, D): once as they are, then augmented with `how`.
    All other images are encoded once, as they are. Without augmentation one view is enough, as all would be equal.
    """
    varied = further_views(network, domains.target, views, how, seed)
    plain = domains.map(lambda split: features_of(network, split))
    return replace(plain, target=with_views(plain.target, varied))


def further_views(network: Network, split: Split, views: int, how: Augmentation, seed: int) -> list[Split]:
    """The split `views` - 1 times, with features (N, D) of its images augmented with `how`; none without
    augmentation."""
    generator = torch.Generator().manual_seed(seed)
    more = views - 1 if how != Augmentation() else 0
    return [features_of(network, split, lambda part: augment(part, how, generator)) for _ in range(more)]


def with_views(plain: Split, varied: list[Split]) -> Split:
    """Features (N, D) and those of further views of the same images as one split; views of one image are a group."""
    if not varied:
        return plain
    groups = torch.arange(len(plain)) if plain.groups is None else plain.groups
    return replace(
        plain,
        images=torch.cat([in_memory(split.images) for split in (plain, *varied)]),
        labels=plain.labels.repeat(1 + len(varied)),
        groups=groups.repeat(1 + len(varied)),
    )


@torch.no_grad()
def features_of(network: Network, split: Split, vary: Callable[[Tensor], Tensor] = lambda part: part) -> Split:
    """The split with features instead of images, computed in evaluation mode on the network's device."""
    network.eval()
    device, found = next(network.parameters()).device, []
    for part in split.images.split(at_a_time(split.images)):  # independent of the device, so that augmentation is too
        read = channels_last(vary(as_read(part)))
        found += [network.features(some.to(device)).float() for some in read.split(at_a_time(read, device))]
    return replace(split, images=torch.cat(found))
