"""Regularised fine-tuning as Transfer-Learning-Library does it: what each method minimises, from its paper and its
scripts' weights.

Legend: B batch, C channels of a feature map, D features, K classes, S source classes, Q queue length, P projection.
"""

import math
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.sampling import Batches
from graft.data.split import Split
from graft.networks.efficientnet_lite import InvertedBottleneck
from graft.networks.network import Frozen, Network, as_read, predict
from graft.techniques.regularisers import features_and_maps, half_square

Groups = Iterator[tuple[Iterable[nn.Parameter], float]]


@dataclass(frozen=True)
class Given:
    """A batch: two views (B, C, H, W) of labelled images and, if the method asks for them, two of unlabelled ones."""

    first: Tensor
    second: Tensor
    labels: Tensor
    pool: tuple[Tensor, Tensor] | None = None


class Method(nn.Module):
    """A network to fine-tune, and its loss."""

    rate = 0.01
    batch = 48
    uses_pool = False

    def __init__(self, weights: Network, paid: Split) -> None:
        super().__init__()
        self.network = deepcopy(weights)
        self.network.set_head(nn.Linear(self.network.feature_size, len(paid.classes)), paid.classes)

    def parameter_groups(self) -> Groups:
        """Weights, with their rate as a multiple of `rate`: a tenth for the backbone."""
        yield self.network.backbone.parameters(), 0.1
        yield self.network.head.parameters(), 1.0

    def schedule(self, step: int, steps: int) -> float:
        """A tenth from the twelfth of twenty epochs on."""
        return 1.0 if step < 0.6 * steps else 0.1

    def loss(self, given: Given) -> Tensor:
        """The scalar to minimise."""
        raise NotImplementedError


class Plain(Method):
    """Cross-entropy alone."""

    def loss(self, given: Given) -> Tensor:
        """Of the first view."""
        return F.cross_entropy(self.network(given.first), given.labels)


class Bss(Method):
    """Batch spectral shrinkage of the smallest singular value, weight .001 (Chen et al. 2019, 'Catastrophic Forgetting
    Meets Negative Transfer')."""

    def loss(self, given: Given) -> Tensor:
        """Cross-entropy and the square of the singular value."""
        features = self.network.features(given.first)
        smallest: Tensor = torch.linalg.svdvals(features)[-1]
        return F.cross_entropy(self.network.head(features), given.labels) + 0.001 * smallest.square()


class CoTuning(Method):
    """The source's head keeps learning, from labels that are translated to its classes, weight 2.3 (You et al. 2020,
    'Co-Tuning for Transfer Learning'); translated directly, as in the library."""

    def __init__(self, weights: Network, paid: Split) -> None:
        super().__init__(weights, paid)
        self.source_head = deepcopy(weights.head)
        said = predict(deepcopy(weights), paid.images)[0]
        rows = [said[paid.labels == label].mean(dim=0) for label in range(len(paid.classes))]
        self.register_buffer("relationship", torch.stack(rows))  # (K, S)

    def parameter_groups(self) -> Groups:
        """The source's head learns as slowly as the backbone."""
        yield from super().parameter_groups()
        yield self.source_head.parameters(), 0.1

    def loss(self, given: Given) -> Tensor:
        """Cross-entropies of both heads."""
        features = self.network.features(given.first)
        of_source = F.cross_entropy(self.source_head(features), cast(Tensor, self.relationship)[given.labels])
        return F.cross_entropy(self.network.head(features), given.labels) + 2.3 * of_source


class Delta(Method):
    """The feature maps at the end of the strides 4, 8, 16 and 32 stay near the source's, channel by channel, weight
    .01; L2 on the head, weight .01 (Li et al. 2019, 'DELTA').

    The attention is the library's: fine-tune a copy for ten epochs, then switch off one channel after another; here on
    32 images, one of its at most ten batches, since there are some five hundred channels.
    """

    def __init__(self, weights: Network, paid: Split) -> None:
        super().__init__(weights, paid)
        self.source = Frozen(deepcopy(weights))
        self.places = _ends_of_strides(weights)
        self.names = [f"blocks.{place}.project.conv" for place in self.places]
        self.attention = _attention(weights, paid, self.places)

    def loss(self, given: Given) -> Tensor:
        """Cross-entropy and both penalties."""
        features, maps = features_and_maps(self.network, given.first, self.names)
        with torch.no_grad():
            kept = features_and_maps(cast(Network, self.source.module), given.first, self.names)[1]
        distance = torch.zeros(())
        for found, of_source, attention in zip(maps, kept, self.attention, strict=True):
            by_channel = (found - of_source).square().mean(dim=(2, 3)).sum(dim=0)  # (C,), of the sum over the batch
            distance = distance + len(attention) / 2 * (attention * by_channel).sum()
        head = half_square(self.network.head.parameters())
        return F.cross_entropy(self.network.head(features), given.labels) + 0.01 * distance + 0.01 * head


def _ends_of_strides(network: Network) -> list[int]:
    """The last block at each of the strides 4, 8, 16 and 32."""
    blocks = cast(nn.Sequential, network.backbone.get_submodule("blocks"))
    strided = [
        place for place, block in enumerate(blocks) if "pad" in dict(block.named_modules())["depthwise"]._modules
    ]
    return [*(place - 1 for place in strided[1:]), len(blocks) - 1]


def _attention(weights: Network, paid: Split, places: list[int]) -> list[Tensor]:
    """(C,) for each of the blocks: softmax(z / 5) of how much the loss rises without the channel, standardised."""
    probe = Plain(weights, paid)
    groups = [{"params": list(found), "lr": probe.rate * scale} for found, scale in probe.parameter_groups()]
    optimiser = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, math.exp(math.log(0.1) / 6))
    order = Batches(len(paid), min(32, len(paid)), torch.Generator().manual_seed(0))
    probe.train()
    for _ in range(10):
        for _ in range(-(-len(paid) // 32)):
            chosen = next(order)
            optimiser.zero_grad()
            F.cross_entropy(probe.network(paid.images[chosen]), paid.labels[chosen]).backward()
            optimiser.step()
        schedule.step()
    chosen = next(order)
    return [_without_each(probe.network.eval(), paid.images[chosen], paid.labels[chosen], place) for place in places]


@torch.no_grad()
def _without_each(network: Network, images: Tensor, labels: Tensor, place: int) -> Tensor:
    body = cast(nn.Sequential, network.backbone)
    blocks = cast(nn.Sequential, body.get_submodule("blocks"))
    before = nn.Sequential(body.get_submodule("stem"), *blocks[:place])((as_read(images) - network.mean) / network.std)
    after = nn.Sequential(*blocks[place + 1 :], *list(body)[2:], network.head)
    block = cast(InvertedBottleneck, blocks[place])
    convolved = block.project.get_submodule("conv")(block.depthwise(block.expand(before)))
    rises = []
    for channel in range(-1, convolved.shape[1]):
        changed = convolved if channel < 0 else convolved.index_fill(1, torch.tensor([channel]), 0)
        found = block.project.get_submodule("norm")(changed)
        rises.append(F.cross_entropy(after(before + found if block.is_residual else found), labels))
    worth = torch.stack(rises[1:]) - rises[0]
    return ((worth - worth.mean()) / worth.std(correction=0) / 5).softmax(dim=0)


class BiTuning(Method):
    """Cross-entropy, and contrast of each image with a queue of the keys of its class and of the others, for features
    against the classifier's weights and for a projection (Zhong et al. 2020, 'Bi-tuning of Pre-trained
    Representations'); momentum encoder .999, temperature .07, forty keys a class."""

    def __init__(self, weights: Network, paid: Split) -> None:
        super().__init__(weights, paid)
        nn.init.normal_(self.network.head.weight, std=0.01)
        nn.init.zeros_(self.network.head.bias)
        features, classes = self.network.feature_size, len(paid.classes)
        self.projector = nn.Linear(features, 128)
        self.key_network = deepcopy(self.network).requires_grad_(False)
        self.key_projector = deepcopy(self.projector).requires_grad_(False)
        self.queue_h = F.normalize(torch.randn(classes, 40, features + 1), dim=2)  # (K, Q, D + 1)
        self.queue_z = F.normalize(torch.randn(classes, 40, 128), dim=2)  # (K, Q, P)
        self.next_place = torch.zeros(classes, dtype=torch.long)

    def parameter_groups(self) -> Groups:
        """The projection learns as slowly as the backbone."""
        yield from super().parameter_groups()
        yield self.projector.parameters(), 0.1

    def loss(self, given: Given) -> Tensor:
        """Cross-entropy, and both contrasts."""
        features = self.network.features(given.first)
        h, z = _unit(features), F.normalize(self.projector(features), dim=1)
        with torch.no_grad():
            self._follow()
            of_key = self.key_network.features(given.second)
            key_h, key_z = _unit(of_key), F.normalize(self.key_projector(of_key), dim=1)
        of_queue_z = torch.einsum("bp,kqp->bkq", z, self.queue_z.clone())
        self._put(key_h, key_z, given.labels)
        head = self.network.head
        classifier = F.normalize(torch.cat([head.weight, head.bias[:, None]], dim=1).detach(), dim=1)  # (K, D + 1)
        own = classifier[given.labels]  # (B, D + 1)
        of_queue_h = torch.einsum("bd,kqd->bkq", own, self.queue_h)
        contrast = _contrast((z * key_z).sum(dim=1), of_queue_z, given.labels)
        contrast = contrast + _contrast((h * own).sum(dim=1), of_queue_h, given.labels)
        return F.cross_entropy(head(features), given.labels) + contrast

    def _follow(self) -> None:
        pairs = ((self.key_network, self.network), (self.key_projector, self.projector))
        for key, query in pairs:
            for theirs, ours in zip(key.parameters(), query.parameters(), strict=True):
                theirs.lerp_(ours.detach(), 0.001)

    def _put(self, h: Tensor, z: Tensor, labels: Tensor) -> None:
        for row, label in enumerate(labels.tolist()):
            place = int(self.next_place[label])
            self.queue_h[label, place], self.queue_z[label, place] = h[row], z[row]
            self.next_place[label] = (place + 1) % self.queue_h.shape[1]


def _unit(features: Tensor) -> Tensor:
    """Features with a one for the bias, (B, D + 1), on the unit sphere."""
    return F.normalize(torch.cat([features, features.new_ones(len(features), 1)], dim=1), dim=1)


def _contrast(positive: Tensor, queue: Tensor, labels: Tensor) -> Tensor:
    """KL divergence from the uniform distribution over the positive (B,) and the class's own keys of (B, K, Q)."""
    logits = torch.cat([positive[:, None], queue.flatten(start_dim=1)], dim=1) / 0.07
    own = F.one_hot(labels, queue.shape[1])[:, :, None].expand_as(queue).flatten(start_dim=1)
    wanted = torch.cat([own.new_ones(len(own), 1), own], dim=1).float()
    return F.kl_div(logits.log_softmax(dim=1), wanted / wanted.sum(dim=1, keepdim=True), reduction="batchmean")
