"""Section `evaluate` of `params.yaml`: how the comparison is made."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from graft.settings import Seed


@dataclass(frozen=True)
class EvaluateSettings:
    """The intervals of the comparison."""

    confidence: Annotated[float, Gt(0.5), Lt(1.0)] = 0.95
    """Of every interval."""
    resamples: Annotated[int, Ge(1000)] = 10_000
    """Of the paired bootstrap; fewer than a thousand leave its percentiles to chance."""
    seed: Seed = 0
    """Of the bootstrap, and of the pictures and start of the embedding."""
