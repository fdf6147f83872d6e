"""Control: the nearest class mean of frozen features, which costs one pass through the backbone."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.on_disk import in_memory
from graft.data.split import Domains
from graft.networks.network import Network
from graft.techniques.head_only import HeadOnly

_SCALES = tuple(10.0 ** (exponent / 4) for exponent in range(-8, 9))
"""Candidates for s: powers of 10^(1/4) from 0.01 to 100."""


@dataclass(frozen=True)
class Prototype(HeadOnly):
    """Predict the class whose mean feature is nearest.

    Logits are -s |f(x) - c_k|² / (2 v), with c_k the mean of f over the labelled images of class k and v the mean
    squared distance of an image from the mean of the others; up to a constant this is a linear head, W = s C / v
    (Mensink et al. 2013, 'Distance-Based Image Classification: Generalizing to New Classes at Near-Zero Cost'; Snell et
    al. 2017, 'Prototypical Networks for Few-shot Learning'). Only the sharpness s is chosen, by leaving out one image
    at a time. Nothing can overfit, which at one label per class is hard to beat. It fails where directions of the
    features that say nothing of the class have the largest variance: then a probe, which weights them, is better.
    """

    def begin(self, network: Network, domains: Domains) -> None:
        """Compute the head from the class means."""
        head = nearest_mean(in_memory(domains.target.images), domains.target.labels, len(domains.target.classes))
        network.head.load_state_dict(head.state_dict())


@torch.no_grad()
def nearest_mean(features: Tensor, labels: Tensor, classes: int) -> nn.Linear:
    """The head D -> K of the nearest mean of features (N, D) with labels (N,); every class has an image."""
    # Centred first: the constant that this changes is the same for all classes, and differences keep their digits.
    origin = features.double().mean(dim=0)
    centred = features.double() - origin
    member = F.one_hot(labels, classes).double()  # (N, K)
    count = member.sum(dim=0)
    means = member.T @ centred / count[:, None]
    scale = _sharpness(centred, means, labels, count)
    found = nn.Linear(features.shape[1], classes, device=features.device)
    weight = scale * means
    found.weight.copy_(weight)
    found.bias.copy_(-scale / 2 * means.square().sum(dim=1) - weight @ origin)
    return found


def _sharpness(centred: Tensor, means: Tensor, labels: Tensor, count: Tensor) -> Tensor:
    """s / v; s has the lowest loss if each image is left out of its class's mean, and v is their distance then.

    Where no class has two images, s is 1 and v the variance of all.
    """
    rest = (count[labels] > 1).nonzero().flatten()
    least = torch.finfo(torch.float).tiny
    if not len(rest):
        return 1 / centred.square().sum(dim=1).mean().clamp_min(least)
    own, times = labels[rest], count[labels[rest]]
    distances = torch.cdist(centred[rest], means).square()  # (M, K)
    # Without itself, a mean moves away from an image: |x - c'|² = |x - c|² (n / (n - 1))².
    left_out = distances.gather(1, own[:, None]) * (times / (times - 1)).square()[:, None]
    distances = distances.scatter(1, own[:, None], left_out)
    spread = left_out.mean().clamp_min(least)
    losses = torch.stack([F.cross_entropy(-scale / 2 * distances / spread, own) for scale in _SCALES])
    return centred.new_tensor(_SCALES)[losses.argmin()] / spread
