"""Strategies explained in the terminal, from their own docstrings."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from graft.strategies import misnamed_files, strategy_class, strategy_names
from tasks.common.errors import GraftError
from tasks.trials.search import main_knob

FAMILIES = (
    "Control",
    "Shared architecture",
    "Changed architecture",
    "Feature level",
    "Model level",
    "Against forgetting and overfitting",
    "Few labels and an unlabelled pool",
    "Unlabelled target",
    "Texts alone",
    "Other modality",
)
"""The order in which families are listed; a strategy's file begins with the name of its own."""


def overview() -> RenderableType:
    """Name and idea of every strategy, family by family; then what is wrong with files that hold none."""
    table = Table.grid(padding=(0, 2))
    by_family: dict[str, list[str]] = {}
    faults = misnamed_files()
    for name in strategy_names():
        try:
            by_family.setdefault(family(name), []).append(name)
        except ValueError as error:
            faults.append(str(error))
    for title in sorted(by_family, key=lambda title: (FAMILIES.index(title) if title in FAMILIES else 99, title)):
        table.add_row(Text(f"\n{title}", "bold green"), "")
        for name in by_family[title]:
            idea = (inspect.getdoc(strategy_class(name)) or "").partition("\n\n")[0]
            table.add_row(Text(f"  {name}", "bold"), Text(" ".join(idea.split())))
    marked = [Text(f"\n✗ {fault}", "red") for fault in faults]
    return Group(table, *marked, Text("\nFormula, paper, failure case and knobs of one: graft strategies NAME", "dim"))


def family(name: str) -> str:
    """What kind of transfer a strategy is: the words before the colon that its file begins with."""
    return (inspect.getdoc(inspect.getmodule(strategy_class(name))) or "").partition(":")[0]


def explain(name: str) -> RenderableType:
    """The docstring of a strategy, and its knobs with their defaults.

    Raises:
        GraftError: there is no such strategy.
    """
    try:
        kind = strategy_class(name)
    except ValueError as error:
        raise GraftError(str(error)) from None
    table = Table.grid(padding=(0, 2))
    said = said_of_fields(kind)
    for knob in fields(kind):
        table.add_row(Text(knob.name, "bold"), Text(f"= {knob.default!r}"), Text(said.get(knob.name, "")))
    heading = Text.assemble((name, "bold green"), (f"   {family(name)}", "dim"))
    paragraphs = (inspect.getdoc(kind) or "").split("\n\n")
    words = Text("\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))
    section = "strategies" if kind.uses_labels else "label_free"
    how = Text(f"params.yaml:  {section}: {{ {name}: {{ … }} }}", "dim")
    knobs = Text("\nKnobs:" if fields(kind) else "\nNo knobs.")
    return Group(heading, words, knobs, table, Text(""), *searched(kind), how)


def searched(kind: type[Any]) -> Iterator[Text]:
    """What the search of `tune` varies, if a training has anything to vary."""
    if not kind.optimises:
        return
    knob = main_knob(kind)
    if knob is None:
        varied = "the learning rate"
    elif knob.choices:
        varied = f"the learning rate and {knob.name}: {', '.join(map(str, knob.choices))}"
    else:
        varied = f"the learning rate and {knob.name}: {knob.low:g} to {knob.high:g}, evenly in the logarithm"
    yield Text(f"A search (tune) varies {varied}.")


def said_of_fields(kind: type[Any]) -> dict[str, str]:
    """The string that follows each field in the body of a dataclass, or of the base that declares it."""
    said = {}
    for each in reversed(kind.__mro__):
        if not is_dataclass(each):
            continue
        definition = ast.parse(inspect.getsource(each)).body[0]
        assert isinstance(definition, ast.ClassDef)
        for node, after in zip(definition.body, definition.body[1:], strict=False):
            match node, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    said[name] = " ".join(text.split())
    return said
