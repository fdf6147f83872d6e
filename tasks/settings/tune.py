"""Section `tune` of `params.yaml`: a small search, the same for every strategy."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from graft.settings import Positive


@dataclass(frozen=True)
class TuneSettings:
    """The search of each trial for its learning rate and its strategy's main knob."""

    trials: Annotated[int, Ge(0)] = 0
    """Trainings per trial; the first uses the given settings. 0: no search."""
    lowest_rate: Positive = 0.1
    """Lowest learning rate to try, as a multiple of `finetune.training.learning_rate`."""
    highest_rate: Positive = 10.0
    """Highest learning rate to try, as a multiple of the same."""

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        if self.lowest_rate >= self.highest_rate:
            raise ValueError(f"lowest_rate ({self.lowest_rate}) must be below highest_rate ({self.highest_rate})")
