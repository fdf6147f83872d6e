"""Section `forecast` of `params.yaml`: what is looked at before a trial is paid for."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Le

from graft.settings import Count, Seed

OWN = "pretrained"
"""The project's own source model among the others; the user may call none of them so."""


@dataclass(frozen=True)
class ForecastSettings:
    """The forecast of the domain gap and of the gain."""

    models: dict[str, str] = field(default_factory=dict)
    """Further source models to rank next to the pretrained one: a name, and a folder of the project with the
    `model.safetensors` and `model.json` of a network. DVC does not watch these folders."""
    images: Annotated[int, Ge(10), Le(5000)] = 500
    """Images of each domain, at most, that the gap is measured on."""
    permutations: Annotated[int, Ge(99)] = 199
    """Of the permutation test of the MMD; its p-value is never below 1 / (permutations + 1)."""
    untrained: Count = 5
    """Bodies like the source model's that have learned nothing; its scores are compared with their mean."""
    seed: Seed = 0
    """Of the examples that the gap is measured on, of the permutations and of the untrained bodies."""
    threads: Count = 1
    """CPU threads of the stage."""
