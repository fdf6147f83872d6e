"""The content of `reports/metrics.json` as frozen dataclasses. No torch here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from graft.data.label_budget import ALL, Labels, by_size, read_labels
from graft.measures.findings import Interval, Verdict
from graft.settings import Metric
from tasks.common.places import METRICS
from tasks.common.typed_json import SCHEMA, read_versioned, typed
from tasks.trials.on_disk import SeedMetric

SCORES: tuple[Metric, ...] = ("accuracy", "macro_f1", "balanced_accuracy")
"""The metrics that may lead."""


@dataclass(frozen=True)
class SeedScore(Interval):
    """A score: its mean over seeds with an interval, and the score of each seed."""

    seeds: tuple[float, ...]


@dataclass(frozen=True)
class CompanionScore(SeedScore):
    """The lead metric of a network that was trained to be measured only, and its strategy's gain over it."""

    gain_over_it: Interval | None = None
    """None for an oracle, which knows labels that the strategy must not know."""
    verdict_over_it: Verdict | None = None


@dataclass(frozen=True)
class RankRange:
    """The ranks that the data allow a strategy."""

    best: int
    worst: int


@dataclass(frozen=True)
class StrategyRow:
    """What a strategy reached on the test split with one label budget."""

    labels_per_class: Labels
    """0 for a strategy that needs no labels."""
    accuracy: SeedScore
    balanced_accuracy: SeedScore
    macro_f1: SeedScore
    nll: SeedScore
    calibration_error: SeedScore
    per_class_recall: Mapping[str, float | None]
    """Mean over seeds; None for a class without a test image."""
    validation: float | None
    """Mean over seeds of the lead metric on paid labels that were held out; None where none could be."""
    folds: int
    """Folds of the cross-validation that were run; 0 for a strategy that needs no labels."""
    gain_over_scratch: Interval
    gain_over_source_only: Interval | None
    """None where `source_only` was not asked for."""
    verdict: Verdict | Literal["baseline"]
    holds_among_all: bool
    """Whether the verdict would hold for all strategies at once."""
    verdict_over_source_only: Verdict | Literal["baseline"] | None
    rank: RankRange
    better_than: tuple[str, ...]
    """The strategies that this one is really better than."""

    def score(self, name: SeedMetric) -> SeedScore:
        """The score of that name."""
        found: SeedScore = getattr(self, name)
        return found


@dataclass(frozen=True)
class LeadMetric:
    """The metric that gains, ranks and verdicts are in."""

    name: Metric
    asked: Literal["auto", Metric]
    """What `evaluate.metric` in params.yaml asks for."""
    fewest_of_a_class: int
    """Among the test images or texts."""
    most_of_a_class: int


@dataclass(frozen=True)
class ChosenTrial:
    """The candidate: the trial that cross-validation chose."""

    trial: str
    strategy: str
    labels_per_class: Labels
    seed: int
    chosen_by: str
    validation: float | None
    """The lead metric of its folds; None where nothing could be held out."""


@dataclass(frozen=True)
class EvaluatedOn:
    """What was tested on."""

    n: int
    kind: Literal["images", "texts"]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class PaidLabels:
    """The largest label budget: what a strategy pays for a seed."""

    labels_per_class: Labels
    n_paid: int
    """All labels of a seed: they choose, in a cross-validation, and all are learned from."""
    folds: int
    """Parts of the cross-validation."""
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class SourceNetwork:
    """The network that the trials began with, untouched."""

    backbone: str
    accuracy: float | None
    """On the test split; None where it does not know the target's classes by name."""
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class RankCorrelation:
    """Kendall's tau-b and Spearman's rho with their p-values."""

    kendall: float
    kendall_p: float
    spearman: float
    spearman_p: float


@dataclass(frozen=True)
class ForecastScore:
    """How right the forecast was about a strategy. A cell is a label budget with a seed."""

    n: int
    """Cells."""
    gained: int
    """Cells with a gain above zero."""
    right_sign: int
    """Cells in which the lift of the probe has the sign of the gain; always saying 'it helps' is right in `gained`."""
    optimism: float | None
    """By how much the lift exceeds the gain, mean over cells; None without any."""
    rank: RankCorrelation | None
    """Of lift and gain; None for fewer than three cells or where all are tied."""


Rows = Mapping[str, StrategyRow]
"""By strategy."""


@dataclass(frozen=True)
class Summary:
    """The result of a run."""

    VERSION: ClassVar[int] = 2

    metric: LeadMetric
    candidate: ChosenTrial
    test: EvaluatedOn
    budget: PaidLabels
    strategies: Rows
    """With the largest label budget."""
    source: SourceNetwork
    smaller_budgets: Mapping[Labels, Rows] = field(default_factory=dict)
    companions: Mapping[str, Mapping[Labels, Mapping[str, CompanionScore]]] = field(default_factory=dict)
    """By strategy, label budget and name."""
    forecast: Mapping[str, ForecastScore] = field(default_factory=dict)
    """By strategy; empty where the forecast said nothing."""

    @property
    def lead(self) -> Metric:
        """The name of the metric that leads."""
        return self.metric.name

    @property
    def beside(self) -> list[Metric]:
        """The metrics that are shown next to the one that leads."""
        return [metric for metric in SCORES if metric != self.lead]

    @property
    def things(self) -> str:
        """What was tested on, in the plural."""
        return self.test.kind

    @property
    def chosen(self) -> StrategyRow:
        """The row of the candidate's strategy."""
        return self.strategies[self.candidate.strategy]

    def budgets(self) -> dict[Labels, Rows]:
        """The rows of every label budget, ascending; the largest is the one that the candidate is chosen at."""
        found = {**self.smaller_budgets, self.budget.labels_per_class: self.strategies}
        return {labels: found[labels] for labels in sorted(found, key=by_size)}

    def as_number(self, labels: Labels) -> float:
        """A label budget as a number; `all`, which is the largest, as its mean over classes."""
        return self.budget.n_paid / len(self.test.classes) if labels == ALL else labels

    def ranked(self) -> list[tuple[str, StrategyRow]]:
        """Strategies with what they reached on test, the best mean first. An order to read, not a choice."""
        return sorted(self.strategies.items(), key=lambda item: (-item[1].score(self.lead).mean, item[0]))

    def to_json(self) -> dict[str, Any]:
        """The content of the file. The score on validation has the metric's name there, and budgets are text."""
        content = asdict(self)
        validation = f"validation_{self.lead}"
        groups = [content["strategies"], *content["smaller_budgets"].values()]
        for place in (content["candidate"], *(row for rows in groups for row in rows.values())):
            place[validation] = place.pop("validation")
        companions = {
            strategy: {
                str(labels): {name: _without_none(score) for name, score in found.items()}
                for labels, found in by_labels.items()
            }
            for strategy, by_labels in content["companions"].items()
        }
        smaller = {str(labels): rows for labels, rows in content["smaller_budgets"].items()}
        return content | {SCHEMA: self.VERSION, "companions": companions, "smaller_budgets": smaller}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The content of the file as a summary.

        Raises:
            KeyError: a key is missing.
            ValueError: so is one further down, or a value has another type.
        """
        validation = f"validation_{content['metric']['name']}"

        def rows(found: dict[str, Any]) -> dict[str, Any]:
            return {name: row | {"validation": row[validation]} for name, row in found.items()}

        def by_labels(found: dict[str, Any]) -> dict[Labels, Any]:
            return {read_labels(labels): value for labels, value in found.items()}

        candidate = content["candidate"]
        return typed(
            content
            | {
                "candidate": candidate | {"validation": candidate[validation]},
                "strategies": rows(content["strategies"]),
                "smaller_budgets": {k: rows(found) for k, found in by_labels(content["smaller_budgets"]).items()},
                "companions": {name: by_labels(found) for name, found in content["companions"].items()},
            },
            cls,
        )


def _without_none(score: dict[str, Any]) -> dict[str, Any]:
    """An oracle has neither gain nor verdict; that a single seed has no interval is said."""
    optional = ("gain_over_it", "verdict_over_it")
    return {name: value for name, value in score.items() if value is not None or name not in optional}


def read_summary(root: Path) -> Summary:
    """The result of the project in `root`.

    Raises:
        GraftError: there is none yet, its file is damaged, or it is of another version.
    """
    return read_versioned(root / METRICS, Summary, shown=METRICS, hint="Make it: graft run")
