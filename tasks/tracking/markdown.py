"""The result as Markdown, for Prefect's page of a run: no images, no torch."""

from pathlib import Path

from tasks.results.read import beside, lead, metric_in_words, ranked, read_summary
from tasks.results.words import SYMBOLS, headline, interval, percent, points, rank, spread, verdict_in_words
from tasks.tracking.published import Published


def in_markdown(root: Path, published: Published) -> str:
    """The headline of the result, the candidate's registration, drift if there was any, and the leaderboard."""
    summary = read_summary(root)
    metric = lead(summary)
    more = beside(summary) if metric != "accuracy" else []
    scores = [f"{metric_in_words(name)} %" for name in (metric, *more)]
    headings = ("rank", "strategy", *scores, "gain over scratch", "verdict")
    rows = [headings, ("---",) * len(headings)]
    for name, row in ranked(summary):
        gain, verdict = row["gain_over_scratch"], row["verdict"]
        rows.append(
            (
                rank(row) if len(summary["budget"]["seeds"]) > 1 else "–",
                f"**{name}** ★" if name == summary["candidate"]["strategy"] else name,
                f"{percent(row[metric]['mean'])} {spread(row[metric])}".strip(),
                *(percent(row[other]["mean"]) for other in more),
                "–" if verdict == "baseline" else f"{points(gain['mean'])} {interval(gain)}".strip(),
                f"{SYMBOLS[verdict]} {verdict_in_words(row)}",
            )
        )
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    words = [headline(summary), *str(published.registration).splitlines(), *str(published.recorded).splitlines()]
    return "\n\n".join([*words, table])
