"""The result as Markdown, for the page of whoever ran the flow: no pictures, no torch."""

from pathlib import Path

from tasks.records.published import Published
from tasks.report.words import SYMBOLS, headline, interval, percent, points, rank, spread, verdict_in_words
from tasks.summary_view import ranked, read_summary

_HEADINGS = ("rank", "strategy", "accuracy %", "gain over scratch", "verdict")


def in_markdown(root: Path, published: Published) -> str:
    """What the run came to, what became of the candidate, drift if there was any, and the leaderboard."""
    summary = read_summary(root)
    rows = [_HEADINGS, ("---",) * len(_HEADINGS)]
    for name, row in ranked(summary):
        accuracy, gain, verdict = row["accuracy"], row["gain_over_scratch"], row["verdict"]
        rows.append(
            (
                rank(row) if len(summary["budget"]["seeds"]) > 1 else "–",
                f"**{name}** ★" if name == summary["candidate"]["strategy"] else name,
                f"{percent(accuracy['mean'])} {spread(accuracy)}".strip(),
                "–" if verdict == "baseline" else f"{points(gain['mean'])} {interval(gain)}".strip(),
                f"{SYMBOLS[verdict]} {verdict_in_words(row)}",
            )
        )
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    words = [headline(summary), *str(published.registration).splitlines(), *str(published.recorded).splitlines()]
    return "\n\n".join([*words, table])
