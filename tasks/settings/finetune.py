"""Section `finetune` of `params.yaml`: the budget that every strategy gets."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Gt, Le

from graft.data.label_budget import ALL, Labels
from graft.settings import Count, Training


@dataclass(frozen=True)
class FinetuneSettings:
    """The budget of a trial: validation labels, steps, and one optimiser setting for all strategies."""

    validation_per_class: Count = 10
    """Labelled examples per target class for validation; never more than there are for training."""
    validation_fraction: Annotated[float, Gt(0.0), Le(0.5)] = 0.2
    """With the label budget `all`: the share of each class for validation, at least one example; the rest is for
    training."""
    threads: Count = 1
    """CPU threads of a stage; another number changes the last bits of the weights."""
    training: Training = field(default_factory=Training)

    def validation_for(self, labels: Labels) -> float:
        """Validation labels per class for a budget of so many training labels, never more than those; for `all`, their
        share."""
        return self.validation_fraction if labels == ALL else min(self.validation_per_class, labels)
