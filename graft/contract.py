"""The contract between a strategy and the one loop.

Legend: B batch, C channels, H W height and width, D features, K classes, N images.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.split import Domains, Split
from graft.networks.network import Network


@dataclass(frozen=True)
class Batch:
    """Augmented images, or texts, of one domain with their labels."""

    images: Tensor
    """(B, C, H, W), float in [0, 1]; texts (B, L), integers; or (B, D), float, where the backbone is frozen and its
    features were computed once."""
    labels: Tensor
    """(B,), an index into the domain's classes; -1 where labels must not be known."""
    label_smoothing: float = 0.0
    weights: Tensor | None = None
    """(B,), how much each image counts; their mean over the domain is 1. None: all alike."""

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy of logits (B, K) against the labels, smoothed and weighed as the training settings say."""
        if self.weights is None:
            return F.cross_entropy(logits, self.labels, label_smoothing=self.label_smoothing)
        losses = F.cross_entropy(logits, self.labels, reduction="none", label_smoothing=self.label_smoothing)
        # Not divided by the weights' sum, so that the parts of a batch add up to the whole.
        return (self.weights * losses).mean()

    def in_parts(self, parts: int) -> list["Batch"]:
        """The batch in so many parts, whose sizes differ by one at most."""
        pairs = zip(self.images.tensor_split(parts), self.labels.tensor_split(parts), strict=True)
        weights = [None] * parts if self.weights is None else self.weights.tensor_split(parts)
        return [Batch(*pair, self.label_smoothing, part) for pair, part in zip(pairs, weights, strict=True)]


@dataclass(frozen=True)
class Step:
    """What one step of the loop sees."""

    target: Batch
    """Labelled images of the target domain; without labels if the strategy has `uses_labels = False`."""
    progress: float = 0.0
    """From 0 at the first step to 1 at the last."""
    source_batch: Batch | None = None
    unlabelled_batch: Batch | None = None

    def in_parts(self, parts: int) -> list[tuple[float, "Step"]]:
        """The step in so many parts, each with its share of the target's images; the shares add up to 1.

        Part i holds part i of every domain's batch, of two images at least: batch normalisation needs them.
        """
        batches = (self.target, self.source_batch, self.unlabelled_batch)
        parts = max(1, min(parts, *(len(batch.labels) // 2 for batch in batches if batch)))
        split = [batch.in_parts(parts) if batch else [None] * parts for batch in batches]
        return [
            (len(target.labels) / len(self.target.labels), Step(target, self.progress, source, unlabelled))
            for target, source, unlabelled in zip(*split, strict=True)
            if target
        ]

    @property
    def source(self) -> Batch:
        """Labelled images of the source domain, for a strategy with `uses_source_data`."""
        assert self.source_batch is not None, "the strategy does not say that it uses source data"
        return self.source_batch

    @property
    def unlabelled(self) -> Batch:
        """Images of the target domain without labels, for a strategy with `uses_unlabelled`."""
        assert self.unlabelled_batch is not None, "the strategy does not say that it uses unlabelled images"
        return self.unlabelled_batch


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at the same rate."""

    parameters: Iterable[nn.Parameter]
    rate: float = 1.0
    """Their learning rate as a multiple of the budget's, which is the same for every strategy."""
    decay: float = 1.0
    """Their weight decay as a multiple of the budget's."""


@dataclass(frozen=True)
class Strategy:
    """How what a network learned on the source domain reaches the target domain.

    Subclasses are frozen dataclasses: the fields are the strategy's knobs, the docstring states the idea, the
    formula, the paper and when it fails. What a run needs to remember (starting weights, a teacher, a discriminator)
    goes into the network's `extras`, never into the strategy.
    """

    uses_labels: ClassVar[bool] = True
    """False for a strategy that needs no label of the target: it is given the target's pool without labels."""
    optimises: ClassVar[bool] = True
    """False for a strategy without gradient steps; `begin` is all that happens to its network."""
    crosses_modalities: ClassVar[bool] = False
    """True for a strategy that can use source data which the target's network cannot read
    (`graft.techniques.carry`)."""

    @property
    def name(self) -> str:
        """As it is asked for: the name of its file."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def uses_source_data(self) -> bool:
        """Whether every step also sees a batch of source images."""
        return False

    @property
    def uses_unlabelled(self) -> bool:
        """Whether every step also sees a batch of target images without labels (the whole pool)."""
        return False

    @property
    def feature_views(self) -> int:
        """How many views of each image pass the frozen backbone, once, before training.

        0: the backbone is trained, and sees images. 1: training sees the features of the images as they are.
        More: and of that many less one augmented versions.
        """
        return 0

    @property
    def label_free_selection(self) -> Literal["guarded_snd", "snd", "entropy", "dev", "last"]:
        """By which rule a strategy without labels chooses its weights; `Training.keep` holds for the others."""
        return "last"

    def companions(self, source: Network) -> "dict[str, Strategy]":
        """Other settings of this strategy that are trained next to it, by name: measured and shown, never chosen.

        `source` is the pretrained network.
        """
        return {}

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """The network to train for the target's `classes`: freeze, inject, widen, replace or build.

        `source` is the pretrained network, carried over to what the target is (`graft.techniques.carry`); it may be
        changed and returned.

                Raises:
                    ValueError: the strategy cannot work for these domains; says precisely why.
        """
        raise NotImplementedError

    def begin(self, network: Network, domains: Domains) -> None:
        """Called once, on the device, before the first step: learn from the training data what the steps will need.

        Where `feature_views` is not 0 the domains hold features. `domains.validation` is there for validation, not to
        learn from.
        """

    def source_weights(self, network: Network, domains: Domains) -> Tensor | None:
        """How often each source image is drawn, relative to the others: (N,), >= 0; None draws all alike."""
        return None

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """What is optimised, and at which rate; all that asks for a gradient, at the budget's rate."""
        return [ParameterGroup([p for p in network.parameters() if p.requires_grad])]

    def train_mode(self, network: Network) -> None:
        """Called before every step; frozen bodies keep their batch-norm statistics by staying in `eval` mode."""
        network.train()

    def loss(self, network: Network, step: Step) -> Tensor:
        """The scalar to minimise: by default the target's cross-entropy, which needs its labels.

        Raises:
            ValueError: the strategy has `uses_labels = False` and does not say what it minimises instead.
        """
        if not self.uses_labels:
            raise ValueError(f"{self.name} uses no labels, so it needs a `loss` of its own")
        return step.target.cross_entropy(network(step.target.images))

    def choose(self, network: Network, validation: Split) -> None:
        """Called before every evaluation: settle by the validation data what is not learned by gradient."""

    def label_free_score(self, network: Network, domains: Domains) -> float | None:
        """How good the network looks where no label may be known, higher is better; None where labels choose."""
        return None

    def finish(self, network: Network) -> Network:
        """The network that is kept: whatever only training needed is taken off or merged."""
        network.extras.clear()
        return network
