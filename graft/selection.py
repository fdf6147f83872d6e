"""Which weights of a training run are kept. Selection is a named rule here, never hidden in the loop."""

from copy import deepcopy
from dataclasses import dataclass

from torch import Tensor

from graft.network import Network


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
    label_free: float | None = None
    """Score of a rule that needs no labels, higher is better; None where labels choose."""


def is_better(rule: str, candidate: Evaluation, best: Evaluation | None) -> bool:
    """Whether `candidate`, the later one, replaces `best` under the rule of that name.

    - `best_validation`: lower validation loss (accuracy on few labels has too many ties);
    - `last`: always;
    - `snd`, `entropy`, `dev`: a higher label-free score (`graft.label_free`);
    - `oracle`: higher validation accuracy, of labels that a strategy without labels must not know. For comparison.

    None of them ever sees the test split.
    """
    if best is None or rule == "last":
        return True
    if rule == "best_validation":
        return candidate.val_loss < best.val_loss
    if rule == "oracle":
        return candidate.val_accuracy > best.val_accuracy
    if candidate.label_free is None or best.label_free is None:
        raise ValueError(f"unknown selection rule {rule!r}; valid: best_validation, last, snd, entropy, dev, oracle")
    return candidate.label_free > best.label_free


class Keeper:
    """Holds on to the weights of the best evaluation under a rule."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self._found: tuple[Evaluation, dict[str, Tensor]] | None = None

    def offer(self, point: Evaluation, network: Network) -> None:
        """Keep the network's weights as they are now, if `point` is better than the best before."""
        if is_better(self.rule, point, self._found[0] if self._found else None):
            self._found = (point, deepcopy(network.own_state()))

    @property
    def best(self) -> Evaluation:
        """The evaluation whose weights are held."""
        assert self._found is not None, "nothing was offered"
        return self._found[0]

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights that are held."""
        assert self._found is not None, "nothing was offered"
        return self._found[1]

    def found_state(self) -> dict[str, Tensor] | None:
        """The weights that are held, if any."""
        return self._found[1] if self._found else None
