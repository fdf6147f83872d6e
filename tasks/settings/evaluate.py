"""Section `evaluate` of `params.yaml`: how the comparison is made."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from graft.settings import Count, Metric, Seed


@dataclass(frozen=True)
class EvaluateSettings:
    """What strategies are compared by, and the intervals of the comparison."""

    metric: Literal["auto", Metric] = "auto"
    """The metric that leads: gains, ranks, verdicts and the candidate's choice are in it. `auto` takes accuracy where
    the classes of the test part are about equally frequent, and balanced accuracy where they are not."""
    confidence: Annotated[float, Gt(0.5), Lt(1.0)] = 0.95
    """Of every interval."""
    resamples: Annotated[int, Ge(1000)] = 10_000
    """Of the paired bootstrap; fewer than a thousand leave its percentiles to chance."""
    seed: Seed = 0
    """Of the bootstrap, and of the dots and the start of the embedding."""
    threads: Count = 1
    """CPU threads of the stage; with another number the last bits of the predictions differ."""
