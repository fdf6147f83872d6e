"""Section `finetune` of `params.yaml`: the budget that every strategy gets."""

from dataclasses import dataclass, field

from graft.settings import Count, Training


@dataclass(frozen=True)
class FinetuneSettings:
    """What a trial may spend: labels to choose by, steps, and one optimiser setting for all."""

    validation_per_class: Count = 10
    """Labelled target pictures of each class to choose by; never more than there are to learn from."""
    threads: Count = 1
    """CPU threads of a stage; with another number the last bits of the weights differ."""
    training: Training = field(default_factory=Training)

    def validation_for(self, labels_per_class: int) -> int:
        """Validation labels a class beside so many training labels: labels to choose by cost as much."""
        return min(self.validation_per_class, labels_per_class)
