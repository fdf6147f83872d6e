"""Strategies explained in the terminal, from their own docstrings."""

import ast
import inspect
from dataclasses import fields

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from graft.strategies import strategy_class, strategy_names
from tasks.errors import GraftError


def overview() -> RenderableType:
    """Name and idea of every strategy."""
    table = Table.grid(padding=(0, 2))
    for name in strategy_names():
        idea = (inspect.getdoc(strategy_class(name)) or "").partition("\n\n")[0]
        table.add_row(Text(name, "bold"), Text(" ".join(idea.split())))
    return Group(table, Text("\nKnobs and papers of one: graft strategies NAME", "dim"))


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
    said = _said_of_fields(inspect.getsource(kind))
    for knob in fields(kind):
        table.add_row(Text(knob.name, "bold"), Text(f"= {knob.default!r}"), Text(said.get(knob.name, "")))
    heading = Text(name, "bold green")
    paragraphs = (inspect.getdoc(kind) or "").split("\n\n")
    words = Text("\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))
    how = Text(f"params.yaml:  strategies: {{ {name}: {{ … }} }}", "dim")
    return Group(heading, words, Text("\nKnobs:" if said else "\nNo knobs."), table, how)


def _said_of_fields(source: str) -> dict[str, str]:
    """The string that follows each field in a class body."""
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.ClassDef)
    said = {}
    for node, after in zip(definition.body, definition.body[1:], strict=False):
        match node, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                said[name] = " ".join(text.split())
    return said
