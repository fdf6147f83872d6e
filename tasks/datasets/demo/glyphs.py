"""Digits of the fonts that matplotlib ships, as masks; in integers, so that every machine draws them alike.

The outlines are read from the font files and filled here rather than by a rasteriser, whose grey values change
between releases.
"""

import logging
from pathlib import Path

import matplotlib
import numpy as np
from fontTools.pens.basePen import BasePen  # type: ignore[import-untyped]
from fontTools.ttLib import TTFont, TTLibError  # type: ignore[import-untyped]

from tasks.common.errors import GraftError

CANVAS = 96
"""Height and width of a mask, in cells."""
GLYPH = 64
"""Height of the digit in the middle of the mask; the rest is room for thicker strokes."""

FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmb10", "cmr10", "cmss10", "cmtt10"),
)
"""Text fonts with digits that matplotlib 3.10 and 3.11 both ship.

Left out: STIXSiz*, STIXNonUni* and DejaVu*Display (no digits), cmsy10, cmex10 and LastResort* (other glyphs at the
digits' code points), cmmi10 (old-style figures), cmti10 (not in 3.10).
"""

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_CURVE_STEPS = 8

logging.getLogger("fontTools.ttLib").setLevel(logging.ERROR)  # it warns about old dates in the fonts' headers


def digit_masks(font: str) -> np.ndarray:
    """The digits 0-9 of one font of `FONTS`: (10, CANVAS, CANVAS) bool, True is ink, each `GLYPH` cells high.

    Raises:
        GraftError: the font is missing or has no proper digits.
    """
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    try:
        with TTFont(path) as file:
            names = [file.getBestCmap().get(ord("0") + digit) for digit in range(10)]
            if names != list(DIGIT_NAMES):
                raise GraftError(f"{path}: the glyphs at the digits' code points are {names}, not digits")
            glyphs = file.getGlyphSet()
            return np.stack([_fill(_outline(glyphs, name)) for name in DIGIT_NAMES])
    except (OSError, TTLibError) as error:
        raise GraftError(
            f"{path}: cannot read this font: {error}",
            f"The demo data is drawn with the fonts of matplotlib {matplotlib.__version__}: install it again.",
        ) from None


class _Polygon(BasePen):  # type: ignore[misc]
    """Collects an outline's edges, with curves flattened. Coordinates are exact: multiples of 1/128 font unit."""

    def __init__(self, glyphs: object) -> None:
        super().__init__(glyphs)
        self.edges: list[tuple[float, float, float, float]] = []

    def _moveTo(self, point: tuple[float, float]) -> None:  # noqa: N802
        self._first = self._last = point

    def _lineTo(self, point: tuple[float, float]) -> None:  # noqa: N802
        self.edges.append((*self._last, *point))
        self._last = point

    def _qCurveToOne(self, control: tuple[float, float], end: tuple[float, float]) -> None:  # noqa: N802
        start, steps = self._last, _CURVE_STEPS
        for step in range(1, steps + 1):
            rest = steps - step
            weights = (rest * rest, 2 * rest * step, step * step)
            x, y = (
                sum(weight * point[axis] for weight, point in zip(weights, (start, control, end), strict=True))
                for axis in (0, 1)
            )
            self._lineTo((x / steps**2, y / steps**2))

    def _closePath(self) -> None:  # noqa: N802
        self._lineTo(self._first)


def _outline(glyphs: object, name: str) -> np.ndarray:
    """Edges (E, 4) of a digit as x0, y0, x1, y1 in 1/128 font unit, int64."""
    pen = _Polygon(glyphs)
    glyphs[name].draw(pen)  # type: ignore[index]
    return np.array([[int(value * 128) for value in edge] for edge in pen.edges], dtype=np.int64)


def _fill(edges: np.ndarray) -> np.ndarray:
    """The inside of an outline (non-zero winding) as a centred mask; a cell has ink if its centre is inside."""
    low, high = edges[:, :2].min(axis=0), edges[:, :2].max(axis=0)
    height, centre = high[1] - low[1], low + high
    # Twice the font's units times GLYPH, so that the centres of the cells are integers: cell c is at (2c + 1) * height.
    scaled = 2 * GLYPH * edges - GLYPH * np.tile(centre, 2) + CANVAS * height
    crossings = np.zeros((CANVAS, CANVAS + 1), dtype=np.int64)
    for x0, y0, x1, y1 in scaled.tolist():
        if y0 == y1:
            continue
        bottom, top = min(y0, y1), max(y0, y1)
        for row in range(_cell_after(bottom, height), _cell_after(top, height)):
            y = (2 * row + 1) * height
            x = x0 + (y - y0) * (x1 - x0) // (y1 - y0)
            column = min(max(_cell_after(x, height), 0), CANVAS)
            crossings[CANVAS - 1 - row, column] += 1 if y1 > y0 else -1
    return np.asarray(np.cumsum(crossings, axis=1)[:, :CANVAS] != 0)


def _cell_after(position: int, height: int) -> int:
    """The first cell whose centre is at `position` or beyond."""
    return int(-((height - position) // (2 * height)))
