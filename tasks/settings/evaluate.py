"""Section `evaluate` of `params.yaml`: how the comparison is made."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from graft.settings import Count, Metric, Seed


@dataclass(frozen=True)
class EvaluateSettings:
    """The metric of the comparison, and its intervals."""

    metric: Literal["auto", Metric] = "auto"
    """The lead metric: gains, ranks, verdicts and the choice of the candidate are based on it. `auto` is accuracy if
    the classes of the test part are about equally frequent, and balanced accuracy if they are not."""
    confidence: Annotated[float, Gt(0.5), Lt(1.0)] = 0.95
    """Confidence level of every interval."""
    resamples: Annotated[int, Ge(1000)] = 10_000
    """Resamples of the paired bootstrap; with fewer than a thousand its percentiles are not reliable."""
    seed: Seed = 0
    """Seed of the bootstrap, and of the embedding's points and its initialisation."""
    threads: Count = 1
    """CPU threads of the stage; another number changes the last bits of the predictions."""
