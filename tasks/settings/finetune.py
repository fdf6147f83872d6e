"""Section `finetune` of `params.yaml`: the budget that every strategy gets."""

from dataclasses import dataclass, field

from graft.settings import Count, Training


@dataclass(frozen=True)
class FinetuneSettings:
    """What a trial may spend: labels, steps, and one optimiser setting for all."""

    labels_per_class: Count = 10
    """Labelled target pictures of each class to train on."""
    validation_per_class: Count = 10
    """Labelled target pictures of each class to choose by; at most as many as `labels_per_class`."""
    threads: Count = 1
    """CPU threads of a stage; with another number the last bits of the weights differ."""
    training: Training = field(default_factory=Training)
