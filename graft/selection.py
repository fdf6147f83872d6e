"""Which weights of a training run are kept. Selection is a named rule here, never hidden in the loop."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluation:
    """The state of a training run when it was evaluated."""

    step: int
    learning_rate: float
    train_loss: float
    """Mean over the steps since the evaluation before."""
    val_loss: float
    """Mean cross-entropy on validation pictures, without label smoothing."""
    val_accuracy: float


def is_better(rule: str, candidate: Evaluation, best: Evaluation | None) -> bool:
    """Whether `candidate`, the later one, replaces `best` under the rule of that name.

    `best_validation`: lower validation loss (accuracy on few labels has too many ties); `last`: always.
    Neither ever sees the test split.
    """
    if rule not in ("best_validation", "last"):
        raise ValueError(f"unknown selection rule {rule!r}; valid: best_validation, last")
    return best is None or rule == "last" or candidate.val_loss < best.val_loss
