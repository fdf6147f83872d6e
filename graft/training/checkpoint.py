"""The state with which a training run resumes. The caller decides where checkpoints are stored."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class Checkpoints(Protocol):
    """Stores the state of one training run."""

    def load(self) -> dict[str, Any] | None:
        """The last saved state; None to start from the beginning."""

    def due(self, step: int, steps: int) -> bool:
        """Whether to save after step `step` of `steps`."""

    def save(self, state: dict[str, Any]) -> None:
        """Store a state: tensors, numbers, text, lists and mappings."""


class Never:
    """Stores no checkpoints."""

    def load(self) -> None:
        """Nothing is stored."""

    def due(self, _step: int, _steps: int) -> bool:
        """Never due."""
        return False

    def save(self, _state: dict[str, Any]) -> None:
        """Stores nothing."""


NEVER = Never()


def random_states() -> dict[str, Any]:
    """States of torch's global generators, which dropout and the like draw from."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_random_states(states: Mapping[str, Any]) -> None:
    """The inverse of `random_states`."""
    torch.set_rng_state(states["cpu"].cpu())
    if states["cuda"]:
        torch.cuda.set_rng_state_all([_on_cpu(state) for state in states["cuda"]])


def _on_cpu(state: Tensor) -> Tensor:
    return state.cpu()
