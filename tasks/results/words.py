"""The result in words, and numbers as people read them."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from graft.data.label_budget import ALL, Labels
from graft.measures.findings import Interval
from graft.settings import MOST_UNEQUAL
from tasks.results.metrics_file import PaidLabels, StrategyRow, Summary
from tasks.trials.plan import BASELINE

SYMBOLS = {"positive": "▲", "no evidence": "●", "negative": "▼", "baseline": "–"}
"""Next to the word, so that a verdict does not depend on seeing its colour."""

_RULES = {
    "best_validation": "lowest loss of the folds",
    "last": "last step",
    "guarded_snd": "SND + information, no labels",
    "snd": "SND, no labels",
    "entropy": "lowest entropy, no labels",
    "dev": "DEV, no labels",
}

_MOST_NAMED = 4
"""Strategies with the same verdict that a sentence names."""


def percent(value: float | None, digits: int = 1) -> str:
    """0.9664 -> '96.6'; None, where there is nothing to say, a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """A difference in percentage points with its sign, '+1.2'; a second digit where the first alone would say 0."""
    if value is None:
        return "–"
    if value == 0:
        return "0.0"
    digits = 2 if abs(value) < 0.0005 else 1
    return f"{100 * value:+.{digits}f}".replace("-", "−")


def interval(gain: Interval) -> str:
    """'[+0.2, +2.4]', or nothing where there is no interval."""
    return "" if gain.low is None else f"[{points(gain.low)}, {points(gain.high)}]"


def gain_in_words(gain: Interval) -> str:
    """'+1.2 [+0.2, +2.4]', in percentage points."""
    return f"{points(gain.mean)} {interval(gain)}".rstrip()


def spread(value: Interval, scale: float = 100.0, digits: int = 1) -> str:
    """'± 3.5', half the interval of a mean, or nothing where there is none."""
    if value.low is None or value.high is None:
        return ""
    return f"± {scale * (value.high - value.low) / 2:.{digits}f}"


def score_in_words(score: Interval) -> str:
    """'96.6 ± 3.5', in percent."""
    return f"{percent(score.mean)} {spread(score)}".rstrip()


def short(name: str, most: int = 18) -> str:
    """A name of at most `most` letters, for places without room: its middle goes, as names differ at their ends."""
    kept = most - 1
    return name if len(name) <= most else f"{name[: kept - kept // 2]}…{name[-(kept // 2) :]}"


def breakable(name: str) -> Markup:
    """A name as HTML that a narrow column may break after an underscore, and nowhere else."""
    return escape(name).replace("_", Markup("_<wbr>"))


def verdict_in_words(row: StrategyRow) -> str:
    """'▲ positive', with † if it would not hold for all strategies at once; 'baseline'."""
    if row.verdict == "baseline":
        return row.verdict
    doubtful = row.verdict != "no evidence" and not row.holds_among_all
    return f"{SYMBOLS[row.verdict]} {row.verdict}{'†' if doubtful else ''}"


def metric_in_words(metric: str) -> str:
    """'balanced accuracy', 'macro-F1'."""
    return "macro-F1" if metric == "macro_f1" else metric.replace("_", " ")


def heading(metric: str) -> str:
    """'Balanced accuracy', at the start of a line."""
    words = metric_in_words(metric)
    return words[0].upper() + words[1:]


def headline(summary: Summary) -> str:
    """One sentence: does what cross-validation chose transfer, and by how much?"""
    name, row = summary.candidate.strategy, summary.chosen
    gain = row.gain_over_scratch
    by = f"{points(gain.mean)} points of {metric_in_words(summary.lead)} over {BASELINE} {interval(gain)}".rstrip()
    labels = labels_in_words(summary.budget.labels_per_class)
    without = f"with no labels but those that chose it, against {labels}"
    budget = f"with {labels}" if row.labels_per_class else without
    if row.verdict == "baseline":
        return f"Nothing is transferred: {budget}, the folds chose {BASELINE}, which learns from the target alone."
    if row.verdict == "positive":
        return f"{name} transfers: {by} {budget}."
    if row.verdict == "negative":
        return f"Transfer hurts: {name}, which the folds chose, is {by} {budget}."
    return f"No evidence that transfer helps: {name}, which the folds chose, is {by} {budget}."


def other_verdicts(summary: Summary) -> str:
    """What became of the strategies that the headline does not name, by verdict."""
    chosen = summary.candidate.strategy
    meanings = {
        "positive": "Positive transfer too",
        "no evidence": "No evidence either way",
        "negative": "Negative transfer (worse than scratch)",
    }
    parts = []
    for verdict, meaning in meanings.items():
        names = [
            f"{name} ({points(row.gain_over_scratch.mean)})"
            for name, row in summary.ranked()
            if row.verdict == verdict and name != chosen
        ]
        if names:
            parts.append(f"{meaning}: {listing(_shortened(names))}.")
    if summary.chosen.verdict != "positive":
        parts = [part.replace("Positive transfer too", "Positive transfer") for part in parts]
    return " ".join(parts)


def better_than_in_words(row: StrategyRow) -> str:
    """'mcc and source_only', the strategies that one is really better than."""
    return listing(_shortened(list(row.better_than)))


def _shortened(names: list[str]) -> list[str]:
    """The first of many, and how many more there are."""
    return names if len(names) <= _MOST_NAMED + 1 else [*names[:_MOST_NAMED], f"{len(names) - _MOST_NAMED} more"]


def rule(keep: str) -> str:
    """How a trial's weights were chosen."""
    return _RULES.get(keep, keep)


def labels_in_words(labels_per_class: Labels | float) -> str:
    """'10 labels per class', '1 label per class', 'all labels', 'no labels'."""
    if not labels_per_class:
        return "no labels"
    if labels_per_class == ALL:
        return "all labels"
    return f"{labels_per_class} {'label' if labels_per_class == 1 else 'labels'} per class"


def paid_in_words(budget: PaidLabels) -> str:
    """'10 labels per class, 70 in all', or how many `all` labels are."""
    if budget.labels_per_class == ALL:
        return f"All {budget.n_paid:,} labels"
    return f"{labels_in_words(budget.labels_per_class)}, {budget.n_paid:,} in all"


def leads_in_words(summary: Summary) -> str:
    """Which metric leads the comparison, and why."""
    metric = summary.metric
    name = heading(metric.name)
    if metric.asked != "auto":
        return f"{name} leads, as evaluate.metric in params.yaml asks."
    fewest, most = metric.fewest_of_a_class, metric.most_of_a_class
    found = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    if metric.name == "accuracy":
        return (
            f"{name} leads: the classes are about equally frequent among the test {summary.things} ({found} per class)."
        )
    return (
        f"{name} leads, in which each class counts alike: among the test {summary.things} one class is more than "
        f"{MOST_UNEQUAL:g} times as frequent as another ({found} per class)."
    )


def rank_in_words(row: StrategyRow) -> str:
    """'2', or '1–3' where the data do not tell which."""
    best, worst = row.rank.best, row.rank.worst
    return str(best) if best == worst else f"{best}–{worst}"


def listing(names: Sequence[str]) -> str:
    """'a, b and c'; nothing of nothing."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def counted(number: int, what: str) -> str:
    """'1 seed', '3 seeds'."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
