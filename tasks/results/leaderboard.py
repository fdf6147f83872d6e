"""The rows of the leaderboard, made once: the terminal, MLflow's note, Prefect's artifact and the report show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from graft.data.label_budget import Labels
from graft.measures.findings import Interval, Verdict
from graft.settings import Metric
from tasks.results.companions import oracles
from tasks.results.metrics_file import Summary
from tasks.results.words import (
    better_than_in_words,
    gain_in_words,
    metric_in_words,
    percent,
    rank_in_words,
    score_in_words,
    verdict_in_words,
)

CHOSEN = "★"
"""Marks the candidate's strategy."""


@dataclass(frozen=True)
class LeaderboardRow:
    """A strategy with the largest label budget: numbers, and how they are written everywhere."""

    strategy: str
    is_chosen: bool
    """Whether cross-validation chose it."""
    rank: str
    """'2', '1–3' where the data leave it open, or a dash with one seed."""
    labels_per_class: Labels
    score: Interval
    """The lead metric."""
    others: tuple[Interval, ...]
    """The metrics next to it, where accuracy does not lead."""
    oracle: Interval | None
    """The lead metric if labels had chosen the weights of a strategy that needs none."""
    gain: Interval | None
    """Over scratch; None for scratch itself."""
    verdict: Verdict | Literal["baseline"]
    verdict_text: str
    """'▲ positive', with † if it would not hold for all strategies at once."""
    better_than: str
    """'scratch and mcc', those that it is really better than; empty where there is none."""

    @property
    def name(self) -> str:
        """With a mark for the candidate's."""
        return f"{self.strategy} {CHOSEN}" if self.is_chosen else self.strategy

    @property
    def labels_text(self) -> str:
        """'10', 'all' or 'none'."""
        return str(self.labels_per_class or "none")

    @property
    def score_text(self) -> str:
        """'96.6 ± 3.5', in percent."""
        return score_in_words(self.score)

    @property
    def oracle_text(self) -> str:
        """As the score; empty where there is none."""
        return score_in_words(self.oracle) if self.oracle else ""

    @property
    def gain_text(self) -> str:
        """'+1.2 [+0.2, +2.4]', in percentage points, or a dash."""
        return gain_in_words(self.gain) if self.gain else "–"


@dataclass(frozen=True)
class Leaderboard:
    """The strategies by the lead metric on the test split, the best first."""

    metric: Metric
    others: tuple[Metric, ...]
    """The metrics next to it."""
    rows: tuple[LeaderboardRow, ...]

    @property
    def has_oracles(self) -> bool:
        """Whether any row has one."""
        return any(row.oracle for row in self.rows)

    @property
    def headings(self) -> list[str]:
        """Of a table of texts."""
        scores = [f"{metric_in_words(metric)} %" for metric in (self.metric, *self.others)]
        oracle = ["oracle %"] if self.has_oracles else []
        return ["rank", "strategy", "labels per class", *scores, *oracle, "gain over scratch, points", "verdict"]

    @property
    def cells(self) -> list[list[str]]:
        """The rows of a table of texts."""
        return [
            [
                row.rank,
                row.name,
                row.labels_text,
                row.score_text,
                *(percent(other.mean) for other in row.others),
                *([row.oracle_text] if self.has_oracles else []),
                row.gain_text,
                row.verdict_text,
            ]
            for row in self.rows
        ]


def leaderboard(summary: Summary) -> Leaderboard:
    """The leaderboard of a result."""
    others = tuple(summary.beside) if summary.lead != "accuracy" else ()
    return Leaderboard(summary.lead, others, tuple(_rows(summary, others)))


def _rows(summary: Summary, others: Sequence[Metric]) -> list[LeaderboardRow]:
    oracle, has_ranks = oracles(summary), len(summary.budget.seeds) > 1
    return [
        LeaderboardRow(
            strategy=name,
            is_chosen=name == summary.candidate.strategy,
            rank=rank_in_words(row) if has_ranks else "–",
            labels_per_class=row.labels_per_class,
            score=row.score(summary.lead),
            others=tuple(row.score(other) for other in others),
            oracle=oracle.get(name),
            gain=None if row.verdict == "baseline" else row.gain_over_scratch,
            verdict=row.verdict,
            verdict_text=verdict_in_words(row),
            better_than=better_than_in_words(row),
        )
        for name, row in summary.ranked()
    ]
