"""One colour and one marker a strategy, the same in every figure and table."""

from collections.abc import Iterable
from dataclasses import dataclass

from tasks.plan import BASELINE
from tasks.report.svg import MARKERS, MUTED, SERIES, VARIABLES


@dataclass(frozen=True)
class Look:
    """How a strategy looks."""

    colour: str
    marker: str

    @property
    def variable(self) -> str:
        """The colour as the page's CSS knows it."""
        return f"var({VARIABLES[self.colour]})"


def looks(strategies: Iterable[str]) -> dict[str, Look]:
    """A look for each strategy by its place in the alphabet; the baseline is grey."""
    found = {BASELINE: Look(MUTED, "h")}
    for i, name in enumerate(sorted(set(strategies) - {BASELINE})):
        found[name] = Look(SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)])
    return found
