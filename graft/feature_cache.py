"""Features of a frozen backbone, computed once: an epoch over them costs next to nothing.

Legend: N pictures, V views, D features.
"""

import torch

from graft.augment import augment
from graft.network import Network, predict
from graft.settings import Augmentation
from graft.split import Domains, Split


def cache_features(network: Network, domains: Domains, views: int, how: Augmentation, seed: int) -> Domains:
    """The domains with features (N, D) for pictures, on the network's device.

    The target's training pictures are seen `views` times (N * V, D): once as they are, then augmented as `how` says.
    All others are seen once, as they are.
    """
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(seed)

    def of(split: Split) -> Split:
        return Split(predict(network, split.images)[1].to(device), split.labels, split.classes)

    def varied(split: Split) -> Split:
        chunks = [augment(part.float() / 255, how, generator) for part in split.images.split(512)]
        return Split(torch.cat(chunks), split.labels, split.classes)

    seen = [of(domains.target), *(of(varied(domains.target)) for _ in range(views - 1))]
    target = Split(
        torch.cat([view.images for view in seen]), torch.cat([view.labels for view in seen]), domains.target.classes
    )
    others = Domains(domains.target.take(torch.arange(0)), domains.validation, domains.source, domains.unlabelled)
    features = others.map(lambda split: of(split) if len(split) else split)
    return Domains(target, features.validation, features.source, features.unlabelled)
