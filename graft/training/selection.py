"""The rules that select which weights of a training run are kept; never hidden in the loop. No torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluation:
    """One evaluation during a training run."""

    step: int
    learning_rate: float
    train_loss: float
    """Mean over the steps since the previous evaluation."""
    val_loss: float
    """Mean cross-entropy on validation images, without label smoothing."""
    val_accuracy: float
    label_free: float | None = None
    """Score of a rule that needs no labels, higher is better; None where labels select the weights."""


def is_better(rule: str, candidate: Evaluation, best: Evaluation | None) -> bool:
    """Whether `candidate`, the later one, replaces `best` under the rule of that name.

    - `best_validation`: lower validation loss (accuracy on few labels has too many ties);
    - `last`: always;
    - `guarded_snd`, `snd`, `entropy`, `dev`: a higher label-free score (`graft.techniques.label_free`);
    - `oracle`: higher validation accuracy, with labels that a strategy without labels must not see. For comparison.

    None of them ever sees the test split.
    """
    if best is None or rule == "last":
        return True
    if rule == "best_validation":
        return candidate.val_loss < best.val_loss
    if rule == "oracle":
        return candidate.val_accuracy > best.val_accuracy
    if candidate.label_free is None or best.label_free is None:
        valid = "best_validation, last, guarded_snd, snd, entropy, dev, oracle"
        raise ValueError(f"unknown selection rule {rule!r}; valid: {valid}")
    return candidate.label_free > best.label_free
