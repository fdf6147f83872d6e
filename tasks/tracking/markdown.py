"""The result as Markdown, for Prefect's page of a run: no images, no torch."""

from collections.abc import Sequence
from pathlib import Path

from tasks.results.leaderboard import leaderboard
from tasks.results.metrics_file import read_summary
from tasks.results.words import headline
from tasks.tracking.published import Published


def in_markdown(root: Path, published: Published) -> str:
    """The headline of the result, the candidate's registration, drift if there was any, and the leaderboard."""
    summary = read_summary(root)
    board = leaderboard(summary)
    words = [headline(summary), *str(published.registration).splitlines(), *str(published.recorded).splitlines()]
    return "\n\n".join([*words, "\n".join(table_lines(board.headings, board.cells))])


def table_lines(headings: Sequence[str], cells: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(map(str, line))} |" for line in (headings, ["---"] * len(headings), *cells)]
