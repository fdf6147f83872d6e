"""What networks cost in use, in the terminal."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.results.cost_in_use import BATCHES, InUse, measure


def show_cost(root: Path, console: Console) -> None:
    """Measure here and now, and print.

    Raises:
        GraftError: there is no result yet.
    """
    with console.status("measuring"):
        found = measure(root)
    console.print(cost_view(found))


def cost_view(found: list[InUse]) -> RenderableType:
    """A row a network, the pretrained one (of `distill` the teacher) first; then the smallest."""
    table = Table(
        title="Networks in use, on this machine", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False
    )
    table.add_column("network", no_wrap=True)
    for heading in ("parameters", "operations", *(f"ms / {size}" for size in BATCHES), "accuracy %"):
        table.add_column(heading, justify="right", no_wrap=True)
    first, *others = found
    for one in (first, *sorted(others, key=lambda one: (one.parameters, one.multiply_adds, one.name))):
        table.add_row(
            one.name,
            f"{one.parameters:,}",
            f"{one.multiply_adds:,}",
            *(f"{took:.2f}" for took in one.milliseconds),
            "" if one.accuracy is None else f"{100 * one.accuracy:.1f}",
        )
    note = "Multiply-adds of one input; milliseconds: the median for that many inputs; accuracy at the largest budget."
    return Group(table, Text(note, "dim"))
