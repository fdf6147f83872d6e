"""What a label is worth: the lead metric by label budget, and who needs fewer labels than scratch. No torch here."""

from dataclasses import dataclass
from itertools import groupby

from graft.data.label_budget import Labels, by_size
from tasks.results.metrics_file import SeedScore, Summary
from tasks.results.words import labels_in_words, listing
from tasks.trials.plan import BASELINE


@dataclass(frozen=True)
class Match:
    """A strategy that is as good, in its mean on test images, as the baseline with more labels."""

    strategy: str
    labels: Labels
    """The fewest labels per class that suffice for it; 0 for a strategy that needs none."""
    baseline_labels: Labels
    """The most labels per class with which the baseline is no better."""


def score_by_labels(summary: Summary) -> dict[str, dict[Labels, SeedScore]]:
    """The lead metric by strategy, as in the leaderboard, and labels per class; under 0 where none are needed."""
    budgets = summary.budgets().values()
    return {
        name: {rows[name].labels_per_class: rows[name].score(summary.lead) for rows in budgets}
        for name, _ in summary.ranked()
    }


def label_efficiency(summary: Summary) -> list[Match]:
    """Who is as good as the baseline with more labels: most labels saved first, then the order of the leaderboard.

    Of each strategy the largest budget of the baseline that it reaches with fewer labels, and the fewest labels that
    suffice. Means are compared as they are: that they differ by luck is for the bands to say.
    """
    scores = score_by_labels(summary)
    matches = [
        Match(name, labels, baseline_labels)
        for name, by_labels in scores.items()
        for labels, own in by_labels.items()
        for baseline_labels, theirs in scores[BASELINE].items()
        if name != BASELINE and by_size(labels) < by_size(baseline_labels) and own.mean >= theirs.mean
    ]
    matches.sort(key=lambda match: (-by_size(match.baseline_labels), by_size(match.labels)))
    first = {match.strategy: match for match in reversed(matches)}
    return [match for match in matches if match is first[match.strategy]]


def candidates_match(summary: Summary) -> str:
    """'fine_tune with 5 labels per class is as good as scratch with 10.'; nothing where the candidate saves no
    label."""
    for match in label_efficiency(summary):
        if match.strategy == summary.candidate.strategy:
            theirs = match.baseline_labels if match.labels else labels_in_words(match.baseline_labels)
            return f"{match.strategy} with {labels_in_words(match.labels)} is as good as {BASELINE} with {theirs}."
    return ""


def matches_in_words(summary: Summary) -> list[str]:
    """A sentence for each budget of the baseline that others reach with fewer labels."""
    sentences = []
    for baseline_labels, group in groupby(label_efficiency(summary), key=lambda match: match.baseline_labels):
        parts = [
            f"{listing([match.strategy for match in same])} with {labels or 'none'}"
            for labels, same in groupby(group, key=lambda match: match.labels)
        ]
        sentences.append(f"As good as {BASELINE} with {labels_in_words(baseline_labels)}: {'; '.join(parts)}.")
    return sentences
