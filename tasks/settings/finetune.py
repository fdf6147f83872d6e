"""Section `finetune` of `params.yaml`: the budget that every strategy gets."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Le

from graft.settings import Count, Training


@dataclass(frozen=True)
class FinetuneSettings:
    """The budget of a trial: its folds, its steps, and one optimiser setting for all strategies."""

    folds: Annotated[int, Ge(2), Le(20)] = 5
    """Parts of the cross-validation within the paid labels, which chooses; the network is then trained on all of
    them."""
    trained_folds: Annotated[int, Ge(1), Le(20)] = 2
    """How many of these a strategy runs that trains its backbone, which takes a training each. One that only fits a
    head runs all."""
    threads: Count = 1
    """CPU threads of a stage; another number changes the last bits of the weights."""
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        """Refuse more folds to run than there are."""
        if self.trained_folds > self.folds:
            raise ValueError(f"trained_folds ({self.trained_folds}) must not exceed folds ({self.folds})")
