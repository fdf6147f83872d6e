"""Section `finetune` of `params.yaml`: the budget that every strategy gets."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Gt, Le

from graft.data.label_budget import ALL, Labels
from graft.settings import Count, Training


@dataclass(frozen=True)
class FinetuneSettings:
    """What a trial may spend: validation labels, steps, and one optimiser setting for all."""

    validation_per_class: Count = 10
    """Labelled examples of each class of the target for validation; never more than there are to learn from."""
    validation_fraction: Annotated[float, Gt(0.0), Le(0.5)] = 0.2
    """With the label budget `all`: the share of each class for validation, one example at least; the rest is
    learned."""
    threads: Count = 1
    """CPU threads of a stage; with another number the last bits of the weights differ."""
    training: Training = field(default_factory=Training)

    def validation_for(self, labels: Labels) -> float:
        """Validation labels per class beside so many training labels, or next to `all` their share: they cost as
        much."""
        return self.validation_fraction if labels == ALL else min(self.validation_per_class, labels)
