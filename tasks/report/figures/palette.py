"""One colour and one marker a strategy, the same in every figure and table."""

from dataclasses import dataclass

from tasks.report.figures.svg import FAINT, INK, MARKERS, SERIES, VARIABLES
from tasks.results.metrics_file import Summary
from tasks.trials.plan import BASELINE

MOST_COLOURED = 6
"""Nobody can tell many colours apart; of more strategies the others are grey."""

MOST_BANDS = 4
"""More bands hide one another; of more strategies only the baseline and the candidate's have one in a shared figure."""


@dataclass(frozen=True)
class Look:
    """How a strategy looks."""

    colour: str
    marker: str
    band: bool = True
    """Whether its line has a band of seeds behind it."""
    faint: bool = False
    """One of many, in grey: named in tables and next to rows, but not in the legend of a figure with lines."""

    @property
    def variable(self) -> str:
        """The colour as the page's CSS knows it."""
        return f"var({VARIABLES[self.colour]})"


def looks(summary: Summary) -> dict[str, Look]:
    """A look for each strategy: ink for the baseline, colours by the alphabet, grey where there are too many.

    The candidate's strategy and those that are best on test images keep their colours then.
    """
    candidate = summary.candidate.strategy
    names = [name for name, _ in summary.ranked() if name != BASELINE]
    names.sort(key=lambda name: name != candidate)
    coloured, others = names[:MOST_COLOURED], names[MOST_COLOURED:]
    banded = {candidate} if len(coloured) > MOST_BANDS else set(coloured)
    return {
        BASELINE: Look(INK, "h"),
        **{name: Look(SERIES[i], MARKERS[i], band=name in banded) for i, name in enumerate(sorted(coloured))},
        **{name: Look(FAINT, "o", band=False, faint=True) for name in sorted(others)},
    }
