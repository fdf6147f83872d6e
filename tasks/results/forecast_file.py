"""The content of `build/forecast/forecast.json` as frozen dataclasses. No torch here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from graft.data.label_budget import Labels
from graft.measures.findings import DomainGap, Interval, Verdict
from tasks.common.places import FORECAST
from tasks.common.typed_json import SCHEMA, read_versioned, typed
from tasks.settings.forecast import OWN

RankedBy = Literal["logme", "probe"]


@dataclass(frozen=True)
class BodyScores:
    """What the features of a network say of the target."""

    logme: float
    h_score: float
    probe: float | None
    """Accuracy of a probe on images that it did not learn from; None if one label per class is all that is paid for."""


@dataclass(frozen=True)
class SourceScores(BodyScores):
    """What a source model says of the target."""

    leep: float | None
    """None, as for `nce`, where the model has no head."""
    nce: float | None


@dataclass(frozen=True)
class Lifts:
    """How far a source model's features are ahead of those of untrained bodies."""

    logme: Interval
    h_score: Interval
    probe: Interval | None
    """None where the probes are not tested."""


@dataclass(frozen=True)
class CellScores:
    """A source model, and untrained bodies like it, with one label budget and one seed."""

    labels: Labels
    seed: int
    source: SourceScores
    random: BodyScores

    @property
    def lift(self) -> float | None:
        """How far its probe is ahead."""
        ours, theirs = self.source.probe, self.random.probe
        return None if ours is None or theirs is None else ours - theirs


@dataclass(frozen=True)
class BudgetScores:
    """The same with one label budget: means over seeds."""

    labels: Labels
    source: SourceScores
    random: BodyScores
    lift: Lifts
    expected: Verdict
    """What the lift of the probe lets expect."""


@dataclass(frozen=True)
class ModelForecast:
    """What the forecast says of a source model."""

    backbone: str
    classes: int
    """How many it knows."""
    input: tuple[int, ...]
    """The shape of what it reads: (channels, height, width), or (tokens,)."""
    weights_sha256: str
    cells: tuple[CellScores, ...]
    budgets: tuple[BudgetScores, ...]
    """Ascending."""


@dataclass(frozen=True)
class NormalisedInput:
    """What the target's images are to given weights once they are normalised, as `graft.measures.input_fit` has it."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    spread: float | None
    does_not_fit: tuple[str, ...]
    """In words; empty where nothing tells against the normalisation."""


@dataclass(frozen=True)
class Forecast:
    """What is known before a trial runs."""

    VERSION: ClassVar[int] = 2

    gap: DomainGap | None
    """None with too little of a domain."""
    models: Mapping[str, ModelForecast]
    """Source models by name."""
    ranked_by: RankedBy
    ranking: tuple[str, ...]
    """Their names, the best first."""
    input: NormalisedInput | None = None
    """None without given weights, and for texts."""
    unfit: Mapping[str, str] = field(default_factory=dict)
    """Models that cannot read what the target is, with the reason."""
    chosen: str | None = None
    """The model that the trials begin with; None in a forecast that no stage made."""

    @property
    def own_cells(self) -> tuple[CellScores, ...]:
        """Of the project's own source model; none where it cannot read what the target is."""
        return self.models[OWN].cells if OWN in self.models else ()

    @property
    def own_budgets(self) -> tuple[BudgetScores, ...]:
        """Of the project's own source model."""
        return self.models[OWN].budgets if OWN in self.models else ()

    def best_budget(self, model: str) -> BudgetScores:
        """What is said of a model with the largest label budget, by which models are ranked."""
        return self.models[model].budgets[-1]

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return asdict(self) | {SCHEMA: self.VERSION}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The content of the file as a forecast.

        Raises:
            ValueError: a key is missing, or a value has another type.
        """
        return typed(content, cls)


def read_forecast(root: Path) -> Forecast:
    """The forecast of the project in `root`.

    Raises:
        GraftError: it is missing or damaged, or of another version.
    """
    return read_versioned(root / FORECAST, Forecast, shown=FORECAST)
