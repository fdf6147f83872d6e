"""Settings of a training run, as frozen dataclasses. No torch here: every floor may import these.

Ranges are part of the type (`annotated_types`), so that code that reads the values from a file can refuse bad ones.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

Fraction = Annotated[float, Ge(0.0), Le(1.0)]
Positive = Annotated[float, Gt(0.0), Lt(math.inf)]
Count = Annotated[int, Ge(1)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Metric = Literal["accuracy", "balanced_accuracy", "macro_f1"]
"""The metric by which networks are compared; larger is better."""
MOST_UNEQUAL = 2.0
"""Classes count as balanced if the largest has at most this many times as many images as the smallest."""


@dataclass(frozen=True)
class Searched:
    """Marks a strategy's main knob, `Annotated[float, Searched(0.01, 1.0)]`: the values that the search (`tune`)
    tries."""

    low: float | None = None
    """With `high`: a range, searched on a logarithmic scale. For a knob with choices (`Literal`, `bool`) leave both
    out."""
    high: float | None = None


@dataclass(frozen=True)
class Augmentation:
    """Batched augmentation on the device; all of it is off by default."""

    flip: Fraction = 0.0
    """Probability of a horizontal flip (off for digits and text: a mirrored 2 is not a 2)."""
    crop: Annotated[int, Ge(0)] = 0
    """Pad by this many pixels, then crop at a random position: a shift by up to `crop` pixels."""
    rotate: Annotated[float, Ge(0.0), Le(180.0)] = 0.0
    """Largest rotation, in degrees."""
    scale: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    """Largest relative change in size: an image is scaled by a factor in [1 - scale, 1 + scale]."""
    shear: Annotated[float, Ge(0.0), Le(60.0)] = 0.0
    """Largest shear angle, in degrees."""
    area: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    """Smallest share of the image that a random crop shows, resized to the whole image; 1 turns it off."""
    colour: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    """Largest relative change of brightness, contrast and saturation: each by a factor in [1 - colour, 1 + colour]."""
    policy: Fraction = 0.0
    """Strength of a random policy: of each image, two of rotation, shear, shifts, brightness, contrast and saturation
    change, by up to 30°, 17°, 30 % of its size, and a factor of 1 ± 0.9, times this (after Cubuk et al. 2020,
    'RandAugment')."""
    mixup: Annotated[float, Ge(0.0), Lt(math.inf)] = 0.0
    """A batch of labelled images is averaged with itself in another order, and so are its losses, with shares from
    Beta(a, a) where this is a (Zhang et al. 2018, 'mixup'); 0 turns it off. Not for texts."""
    cutmix: Annotated[float, Ge(0.0), Lt(math.inf)] = 0.0
    """Like `mixup`, but a rectangle of each image is replaced, as large as the share (Yun et al. 2019, 'CutMix'). With
    both, each batch takes one of them."""
    morphology: Fraction = 0.0
    """Probability that strokes are thickened or thinned by one pixel (grey dilation or erosion, equally likely)."""
    drop: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    """Texts only: probability that a token is dropped."""


@dataclass(frozen=True)
class Training:
    """Budget and optimiser of the training loop; the same for every strategy that is compared."""

    steps: Count = 300
    """Optimiser steps."""
    batch_size: Count = 64
    """Images per domain in a mini-batch."""
    learning_rate: Positive = 3e-3
    """Peak of the one-cycle schedule; a strategy scales it per parameter group."""
    weight_decay: Annotated[float, Ge(0.0), Lt(math.inf)] = 0.05
    """AdamW's decoupled weight decay (Loshchilov & Hutter 2019)."""
    label_smoothing: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    """Share of the target probability that is spread over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: weights each labelled image in the loss by the inverse frequency of its class, so that all classes
    count equally; the validation loss that selects the weights stays unweighted."""
    batch_norm: Literal["auto", "train", "frozen"] = "auto"
    """frozen: batch norm keeps the statistics that the weights came with, instead of those of each batch, which say
    little where batches are small. A new network, which has none yet, trains them in any case. auto: frozen if a batch
    has fewer than 32 images, but for strategies that need its statistics: those without labels, and stoch_norm."""
    clip_norm: Annotated[float, Ge(0.0), Lt(math.inf)] = 1.0
    """Largest norm of the whole gradient; 0 turns clipping off."""
    evaluations: Count = 10
    """Number of evaluations on the validation data, spread evenly over the steps."""
    keep: Literal["best_validation", "last"] = "best_validation"
    """Which weights are kept: those of the best evaluation (lowest validation loss), or the last ones."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """bfloat16 autocasts the forward pass; auto does so on CUDA only."""
    augmentation: Augmentation = field(default_factory=Augmentation)
