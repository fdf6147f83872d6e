"""matplotlib figures as inline SVG that takes its colours and its font from the page.

Figures are drawn with the colours of the light theme; in the SVG each becomes the CSS variable that the page sets for
either theme.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

INK, MUTED, FAINT, GRID = "#1c2329", "#5c666f", "#a3abb0", "#d9dcd8"

SERIES = ("#0072b2", "#d55e00", "#00936a", "#b3559a", "#a67c00", "#3d95d4", "#7a5195", "#6b7f00", "#8c6d5a", "#d0679d")
"""The first after Okabe & Ito, whose colours the colour-blind can tell apart; darker where white would swallow them."""

MARKERS = "osD^vPX*p"
"""For those who see no colours; one more of them, so that colours come again with another marker."""

VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    FAINT: "--faint",
    GRID: "--grid",
    **{colour: f"--series-{i}" for i, colour in enumerate(SERIES)},
}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "graft",
    "svg.id": None,
    "text.parse_math": False,  # a class may be called $x$
    "font.size": 12,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 1,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 12,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in here: the page's look, whatever the user's matplotlibrc says."""
    defaults = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}
    with mpl.rc_context({**defaults, **_STYLE}), warnings.catch_warnings():
        # Names in other scripts: matplotlib has no such letters, but the browser, which draws them, has.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def canvas(width: int, height: int) -> Figure:
    """An empty figure, sized in CSS pixels."""
    return Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")


def standalone(figure: Markup) -> str:
    """A figure of the page as a file of its own: the light theme's colours in place of the page's variables."""
    text = str(figure).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    for colour, variable in VARIABLES.items():
        text = text.replace(f"var({variable})", colour)
    return text + "\n"


def to_svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an `<svg>` element: no header, date or ids that could clash with another figure on the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    opening = f'<svg class="{name}" viewBox="{box.group(1)}" role="img" aria-label="{escape(description)}">'
    text = re.sub(r"<svg [^>]*>", lambda _: opening, text, count=1)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: (?:\w+ )*?([\d.]+px) [^;\"]*", r"font-size: \1", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return Markup(re.sub(r"\n\s*", "\n", text).strip())  # noqa: S704  (matplotlib escapes all names)
