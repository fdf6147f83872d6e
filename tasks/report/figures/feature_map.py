"""The map of features: source and target images as the candidate's network sees them."""

import torch
from markupsafe import Markup
from matplotlib.axes import Axes

from tasks.report.evidence import Embedding
from tasks.report.figures.svg import INK, MUTED, SERIES, canvas, style, to_svg
from tasks.results.words import short

_SHORT = 3
"""Letters of a name that can stand among the dots; longer ones go into the legend."""


def embedding_plot(embedding: Embedding) -> Markup:
    """A dot an image: filled for the target, hollow for the source; a colour and a name per class.

    With more classes than there are colours, colour tells source from target only.
    """
    classes = sorted(set(embedding.classes))
    with style():
        figure = canvas(440, 420)
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_aspect("equal", adjustable="datalim")
        axes.plot([], [], "o", color=INK, markersize=7, label="target (test)")
        axes.plot([], [], "o", color=INK, markersize=6, markerfacecolor="none", label="source")
        if len(classes) <= len(SERIES):
            in_place = max(map(len, classes)) <= _SHORT
            for name, colour in zip(classes, SERIES, strict=False):
                chosen = torch.tensor([found == name for found in embedding.classes])
                _dots(axes, embedding, chosen, colour, colour)
                if not in_place:
                    axes.plot([], [], "o", color=colour, markersize=7, label=short(name))
            for i, name in enumerate(classes if in_place else []):
                _name(axes, embedding, name, i)
        else:
            _dots(axes, embedding, torch.ones(len(embedding.classes), dtype=torch.bool), MUTED, SERIES[0])
        figure.legend(loc="outside lower center", ncols=3, columnspacing=1, handletextpad=0.2)
        return to_svg(figure, "embedding", "Features of source and target in two dimensions")


def _dots(axes: Axes, embedding: Embedding, chosen: torch.Tensor, source: str, target: str) -> None:
    is_source = torch.arange(len(chosen)) < embedding.sources
    hollow, filled = embedding.places[chosen & is_source].T, embedding.places[chosen & ~is_source].T
    axes.plot(
        *hollow.tolist(), "o", color=source, markersize=3.6, markerfacecolor="none", markeredgewidth=0.9, alpha=0.75
    )
    axes.plot(*filled.tolist(), "o", color=target, markersize=4.6, markeredgewidth=0, alpha=0.85)


def _name(axes: Axes, embedding: Embedding, name: str, index: int) -> None:
    """The class's name where its target images are, or its source images if it has no others."""
    of_class = torch.tensor([found == name for found in embedding.classes])
    target = of_class & (torch.arange(len(of_class)) >= embedding.sources)
    x, y = embedding.places[target if target.any() else of_class].median(dim=0).values.tolist()
    text = axes.text(x, y, name, ha="center", va="center", fontsize=15, gid=f"name-{index}")
    text.set_in_layout(False)
