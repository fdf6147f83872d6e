"""Section `forecast` of `params.yaml`: what is measured before any trial is run."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Le

from graft.settings import Count, Seed

OWN = "pretrained"
"""The name of the project's own source model, which no other source model may have."""


@dataclass(frozen=True)
class ForecastSettings:
    """The forecast of the domain gap and of the gain."""

    models: dict[str, str] = field(default_factory=dict)
    """Further source models to rank alongside the pretrained one: a name, and a folder of the project with the
    `model.safetensors` and `model.json` of a network. DVC does not track these folders."""
    images: Annotated[int, Ge(10), Le(5000)] = 500
    """Maximum number of images per domain on which the gap is measured."""
    permutations: Annotated[int, Ge(99)] = 199
    """Permutations of the MMD test; its p-value is never below 1 / (permutations + 1)."""
    untrained: Count = 5
    """Number of untrained bodies with the source model's architecture; its scores are compared with their mean."""
    seed: Seed = 0
    """Seed of the examples on which the gap is measured, of the permutations and of the untrained bodies."""
    threads: Count = 1
    """CPU threads of the stage."""
