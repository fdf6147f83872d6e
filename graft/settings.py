"""What a training run may vary, as frozen dataclasses. No torch here: every floor may import these.

Ranges are part of the type (`annotated_types`), so that whoever reads the values from a file can refuse bad ones.
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
"""What networks are compared by; larger is better."""
MOST_UNEQUAL = 2.0
"""Classes are about equally frequent where the largest has at most so many times the images of the smallest."""


@dataclass(frozen=True)
class Searched:
    """Marks a strategy's main knob, `Annotated[float, Searched(0.01, 1.0)]`: where the search (`tune`) looks for it."""

    low: float | None = None
    """With `high`: a range, searched evenly in the logarithm. For a knob with choices (`Literal`, `bool`) leave both
    out."""
    high: float | None = None


@dataclass(frozen=True)
class Augmentation:
    """Batched augmentation on the device; every part is off at its default."""

    flip: Fraction = 0.0
    """Probability of a horizontal flip (off for digits and text: a mirrored 2 is no 2)."""
    crop: Annotated[int, Ge(0)] = 0
    """Pad by this many pixels, then crop at a random place: a shift by up to `crop` pixels."""
    rotate: Annotated[float, Ge(0.0), Le(180.0)] = 0.0
    """Largest rotation, in degrees."""
    scale: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    """Largest relative change of size: an image is scaled by a factor in [1 - scale, 1 + scale]."""
    shear: Annotated[float, Ge(0.0), Le(60.0)] = 0.0
    """Largest slant, in degrees."""
    morphology: Fraction = 0.0
    """Probability that strokes are thickened or thinned by one pixel (grey dilation or erosion, either equally)."""
    drop: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    """Of texts: probability that a token is left out."""


@dataclass(frozen=True)
class Training:
    """The budget and the optimiser of the one loop; the same for every strategy that is compared."""

    steps: Count = 300
    """Optimiser steps."""
    batch_size: Count = 64
    """Images of each domain in a batch."""
    learning_rate: Positive = 3e-3
    """Peak of the one-cycle schedule; a strategy scales it for each of its parameter groups."""
    weight_decay: Annotated[float, Ge(0.0), Lt(math.inf)] = 0.05
    """AdamW's decoupled weight decay (Loshchilov & Hutter 2019)."""
    label_smoothing: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    """Share of a label's probability that is spread over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a labelled image counts as much more in the loss as its class is rarer, so that all classes count
    alike; the loss that chooses weights stays as it is."""
    clip_norm: Annotated[float, Ge(0.0), Lt(math.inf)] = 1.0
    """Largest norm of the whole gradient; 0 leaves it alone."""
    evaluations: Count = 10
    """How often the network is evaluated on validation data, evenly spread over the steps."""
    keep: Literal["best_validation", "last"] = "best_validation"
    """Which weights are kept: those of the best evaluation (lowest validation loss), or the last ones."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """bfloat16 autocasts the forward pass; auto does so on CUDA alone."""
    augmentation: Augmentation = field(default_factory=Augmentation)
