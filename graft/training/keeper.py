"""Keeps the best weights during a training run."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import Any

from torch import Tensor

from graft.networks.network import Network
from graft.training.selection import Evaluation, is_better


class Keeper:
    """Keeps the weights of the best evaluation under a selection rule."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self._found: tuple[Evaluation, dict[str, Tensor]] | None = None

    def offer(self, point: Evaluation, network: Network) -> None:
        """Keep the network's current weights if `point` is better than the best so far."""
        if is_better(self.rule, point, self._found[0] if self._found else None):
            self._found = (point, deepcopy(network.own_state()))

    def to_dict(self) -> dict[str, Any] | None:
        """The kept evaluation and weights, as plain values and tensors."""
        return {"point": asdict(self._found[0]), "state": self._found[1]} if self._found else None

    def restore(self, held: Mapping[str, Any] | None) -> None:
        """The inverse of `to_dict`."""
        self._found = (Evaluation(**held["point"]), held["state"]) if held else None

    @property
    def best(self) -> Evaluation:
        """The evaluation whose weights are kept."""
        assert self._found is not None, "nothing was offered"
        return self._found[0]

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights that are kept."""
        assert self._found is not None, "nothing was offered"
        return self._found[1]

    def found_state(self) -> dict[str, Tensor] | None:
        """The weights that are kept, if any."""
        return self._found[1] if self._found else None
