"""What a training run needs to go on from where it was. Where it is kept is someone else's business."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class Checkpoints(Protocol):
    """Keeps the state of one training run."""

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last; None to begin at the beginning."""

    def due(self, step: int, steps: int) -> bool:
        """Whether to save after this step of so many."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state: tensors, numbers, text, lists and mappings."""


class Never:
    """Keeps nothing."""

    def load(self) -> None:
        """There is nothing."""

    def due(self, _step: int, _steps: int) -> bool:
        """It never is."""
        return False

    def save(self, _state: dict[str, Any]) -> None:
        """Nothing is kept."""


NEVER = Never()


def random_states() -> dict[str, Any]:
    """Those of torch's own generators: dropout and the like draw from them."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_random_states(states: Mapping[str, Any]) -> None:
    """The inverse of `random_states`."""
    torch.set_rng_state(states["cpu"].cpu())
    if states["cuda"]:
        torch.cuda.set_rng_state_all([_on_cpu(state) for state in states["cuda"]])


def _on_cpu(state: Tensor) -> Tensor:
    return state.cpu()
