"""All that the report shows, gathered by the evaluation; the report itself reads no file of the pipeline."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from graft.data.split import Split
from graft.networks.network import Description
from tasks.datasets.card_file import DataCard
from tasks.results.forecast_file import Forecast
from tasks.results.metrics_file import Summary
from tasks.settings.evaluate import EvaluateSettings
from tasks.trials.on_disk import Trial


@dataclass(frozen=True)
class Embedding:
    """Features of the candidate's network in two dimensions.

    Attributes:
        places: (N, 2), source images first.
        classes: the class of each of the N images, by name.
        sources: how many of them are source images.
    """

    places: Tensor
    classes: tuple[str, ...]
    sources: int


@dataclass(frozen=True)
class Evidence:
    """What the report is made from. Legend: M trials, N test images, K classes."""

    summary: Summary
    trials: list[Trial]
    """Those at the largest label budget, and those that need no labels."""
    probabilities: Tensor
    """(M, N, K)."""
    confusion: tuple[tuple[int, ...], ...]
    """Of the candidate: rows are true classes, columns are predictions."""
    source: Split
    source_weights: Mapping[str, Tensor]
    """(S, N): how often each of N of the source was drawn with each of S seeds, by strategy; all alike elsewhere."""
    pool: Split
    test: Split
    texts: Mapping[str, list[str]]
    """As they were, by part (source, test); nothing of a part that holds images."""
    embedding: Embedding | None
    """None with too few images or texts."""
    card: DataCard
    forecast: Forecast
    """What was expected before the trials ran."""
    pretrained: dict[str, Any]
    """The metrics of `pretrain`."""
    description: Description
    """Of the candidate's network."""
    weights_sha256: str
    """Of the candidate's file of weights."""
    settings: EvaluateSettings
    parameters: Mapping[str, Any]
    """The content of params.yaml."""

    def candidate_index(self) -> int:
        """Where the candidate stands among the trials."""
        return next(i for i, trial in enumerate(self.trials) if trial.name == self.summary.candidate.trial)

    def indices_of(self, strategy: str) -> list[int]:
        """Where a strategy's trials stand, seed by seed."""
        return [i for i, trial in enumerate(self.trials) if trial.strategy == strategy]
