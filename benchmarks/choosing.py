"""How well the folds choose: regret, and how far their estimate is from the test.

    python -m benchmarks.choosing PROJECT [PROJECT ...]

For finished projects. The regret is the test score of the best strategy in hindsight minus that of the candidate's, in
points, at the largest label budget. The error of the estimate is the score out of fold minus the test score, over all
strategies that learn from labels: what is learned from all labels should be a little better than the folds say. Nothing
here chooses anything.
"""

import sys
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from tasks.results.metrics_file import Summary, read_summary
from tasks.results.words import percent, points


def errors(summary: Summary) -> list[float]:
    """Score out of fold minus test score of every strategy that learns from labels."""
    return [
        row.validation - row.score(summary.lead).mean
        for row in summary.strategies.values()
        if row.validation is not None and row.labels_per_class
    ]


def main(projects: list[Path]) -> None:
    """Print a row per project."""
    table = Table(title="Choosing by cross-validation within the paid labels")
    for heading in ("project", "labels", "candidate", "its test %", "best test %", "regret", "estimate − test", "|…|"):
        table.add_column(heading, justify="left" if heading in ("project", "candidate") else "right")
    regrets = []
    for project in projects:
        summary = read_summary(project)
        chosen, best = (row.score(summary.lead).mean for row in (summary.chosen, summary.ranked()[0][1]))
        off = errors(summary)
        regrets.append(best - chosen)
        table.add_row(
            project.name,
            str(summary.budget.labels_per_class),
            summary.candidate.strategy,
            percent(chosen),
            percent(best),
            f"{100 * regrets[-1]:.1f}",
            points(fmean(off)) if off else "–",
            f"{100 * fmean(map(abs, off)):.1f}" if off else "–",
        )
    Console().print(table, f"Regret: {100 * fmean(regrets):.2f} points on average, {100 * max(regrets):.2f} at most.")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(f"usage: {(__doc__ or '').splitlines()[2].strip()}")
    main([Path(name).resolve() for name in sys.argv[1:]])
