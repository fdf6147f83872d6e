"""The contract between a strategy and the training loop.

Legend: B batch, C channels, H W height and width, D features, K classes, N images.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from graft.data.split import Domains
from graft.networks.network import Network


@dataclass(frozen=True)
class Batch:
    """Augmented images, or texts, of one domain with their labels."""

    images: Tensor
    """(B, C, H, W), float in [0, 1]; texts (B, L), integers; or (B, D), float, where the backbone is frozen and its
    features are cached."""
    labels: Tensor
    """(B,), an index into the domain's classes; -1 where labels must stay hidden."""
    label_smoothing: float = 0.0
    weights: Tensor | None = None
    """(B,), the weight of each image; their mean over the domain is 1. None: all equal."""
    mixed_with: "Batch | None" = None
    """The labels and weights of the images that these are mixed with (`graft.data.mix`)."""
    mixed_share: float = 0.0
    """Their share, at most 1/2."""

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy of logits (B, K), with the label smoothing, the class weights and the mixing of the
        training settings."""
        if self.weights is None:
            loss = F.cross_entropy(logits, self.labels, label_smoothing=self.label_smoothing)
        else:
            losses = F.cross_entropy(logits, self.labels, reduction="none", label_smoothing=self.label_smoothing)
            # Not divided by the sum of the weights, so that the parts of a batch add up to the whole.
            loss = (self.weights * losses).mean()
        if self.mixed_with is None:
            return loss
        return (1 - self.mixed_share) * loss + self.mixed_share * self.mixed_with.cross_entropy(logits)

    def in_parts(self, parts: int) -> list["Batch"]:
        """Split the batch into this many parts, whose sizes differ by one at most."""
        nothing = [None] * parts
        split = zip(
            self.images.tensor_split(parts),
            self.labels.tensor_split(parts),
            nothing if self.weights is None else self.weights.tensor_split(parts),
            nothing if self.mixed_with is None else self.mixed_with.in_parts(parts),
            strict=True,
        )
        return [
            Batch(images, labels, self.label_smoothing, weights, mixed_with, self.mixed_share)
            for images, labels, weights, mixed_with in split
        ]


@dataclass(frozen=True)
class Step:
    """The batches that one training step sees."""

    target: Batch
    """Labelled images of the target domain; without labels if the strategy has `uses_labels = False`."""
    progress: float = 0.0
    """From 0 at the first step to 1 at the last."""
    source_batch: Batch | None = None
    unlabelled_batch: Batch | None = None

    def in_parts(self, parts: int) -> list[tuple[float, "Step"]]:
        """Split the step into this many parts, each with its share of the target's images; the shares add up to 1.

        Part i holds part i of every domain's batch, with at least two images: batch normalisation needs them.
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
    """Parameters that share a learning rate."""

    parameters: Iterable[nn.Parameter]
    rate: float = 1.0
    """Their learning rate, as a multiple of `Training.learning_rate`, which is the same for every strategy."""
    decay: float = 1.0
    """Their weight decay, as a multiple of `Training.weight_decay`."""


@dataclass(frozen=True)
class Strategy:
    """A way to transfer a network trained on the source domain to the target domain.

    Subclasses are frozen dataclasses: the fields are the strategy's knobs, the docstring states the idea, the
    formula, the paper and when it fails. The state of a run (starting weights, a teacher, a discriminator) goes into
    the network's `extras`, never into the strategy.
    """

    uses_labels: ClassVar[bool] = True
    """False for a strategy that needs no target labels: it gets the target's pool without labels."""
    optimises: ClassVar[bool] = True
    """False for a strategy without gradient steps; only `begin` changes its network."""
    source_is_optional: ClassVar[bool] = False
    """True for a strategy that works without source data too, and uses it (`uses_source_data`) where there is some."""
    steps_see_source: ClassVar[bool] = True
    """False for a strategy that uses source images in `begin` alone."""
    moves_batch_norm: ClassVar[bool] = False
    """True for a strategy that lives on what batch norm learns of the target: `batch_norm: auto` never freezes it."""
    crosses_modalities: ClassVar[bool] = False
    """True for a strategy that can use source data of another modality, which the target's network cannot read
    (`graft.techniques.carry`)."""

    @property
    def name(self) -> str:
        """The strategy's name in `params.yaml`: the name of its file."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def uses_source_data(self) -> bool:
        """Whether it learns from source images: every step also sees a batch of them, unless `steps_see_source` is
        False."""
        return False

    @property
    def uses_unlabelled(self) -> bool:
        """Whether every step also sees a batch of target images without labels (the whole pool)."""
        return False

    @property
    def feature_views(self) -> int:
        """How many views of each image pass through the frozen backbone, once, before training.

        0: the backbone is trained and sees images. 1: training sees the cached features of the images as they are.
        n > 1: training sees these and the features of n - 1 augmented versions.
        """
        return 0

    @property
    def text_bytes(self) -> int:
        """How many bytes of a text its network reads; 0: it reads texts as the source network does, or images.

        Where it is not 0, the strategy gets texts as bytes (`graft.data.inputs.BYTES`), and its `adapt` makes a network
        that reads them, whatever the source network reads. It serves texts only.
        """
        return 0

    @property
    def label_free_selection(self) -> Literal["guarded_snd", "snd", "entropy", "dev", "last"]:
        """The rule by which a strategy without labels selects its weights; the others follow `Training.keep`."""
        return "last"

    def companions(self, source: Network) -> "dict[str, Strategy]":
        """Other settings of this strategy that are trained alongside it, by name: reported, never selected.

        `source` is the pretrained network.
        """
        return {}

    def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
        """Make the network to train for the target's `classes`: freeze, inject, widen, replace or build.

        `source` is the pretrained network, adapted to the target's input (`graft.techniques.carry`); it may be
        changed and returned.

        Raises:
            ValueError: the strategy cannot work for these domains; the message says why.
        """
        raise NotImplementedError

    def begin(self, network: Network, domains: Domains) -> None:
        """Called once, on the device, before the first step: compute from the training data what the steps need.

        Where `feature_views` is not 0, the domains hold features. Whatever has to be selected is selected within
        `domains.target`, by a cross-validation: the labels of `domains.validation` are not for strategies to see.
        """

    def source_weights(self, network: Network, domains: Domains) -> Tensor | None:
        """Sampling weights of the source images: (N,), >= 0; None samples uniformly."""
        return None

    def parameter_groups(self, network: Network) -> list[ParameterGroup]:
        """The parameters to optimise, with their rates; by default all that require a gradient, at rate 1."""
        return [ParameterGroup([p for p in network.parameters() if p.requires_grad])]

    def train_mode(self, network: Network) -> None:
        """Called before every step; frozen backbones stay in `eval` mode, which keeps their batch-norm statistics."""
        network.train()

    def loss(self, network: Network, step: Step) -> Tensor:
        """The scalar to minimise: by default the target's cross-entropy, which needs its labels.

        Raises:
            ValueError: the strategy has `uses_labels = False` and does not say what it minimises instead.
        """
        if not self.uses_labels:
            raise ValueError(f"{self.name} uses no labels, so it needs a `loss` of its own")
        return step.target.cross_entropy(network(step.target.images))

    def choices(self, network: Network) -> dict[str, Callable[[], None]]:
        """Further versions of the trained network that cost no training, by name: each call puts one in place.

        Asked for after the last step, or after `begin` if there are no steps. The folds choose between them and the
        network as it is.
        """
        return {}

    def label_free_score(self, network: Network, domains: Domains) -> float | None:
        """A score of the network that needs no labels, higher is better; None where labels select the weights."""
        return None

    def finish(self, network: Network) -> Network:
        """The network that is saved: parts that only training needed are removed or merged."""
        network.extras.clear()
        return network
