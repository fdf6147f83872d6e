"""Section `label_budgets` of `params.yaml`: how many labels the strategies learn from."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainValidator
from pydantic_core import PydanticCustomError

from graft.data.label_budget import ALL, Labels, by_size
from tasks.common.yaml_files import load_yaml
from tasks.settings.yaml_sections import parse


def _read(value: object) -> Labels:
    if value == ALL:
        return ALL
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise PydanticCustomError("int_type", "expected a number of labels per class, 1 or more, or the word `all`")


LabelBudget = Annotated[Any, PlainValidator(_read)]
"""An entry of the section."""


def read_label_budgets(params: Path) -> tuple[Labels, ...]:
    """The label budgets in `params.yaml`, ascending; `all` is the largest.

    Raises:
        GraftError: the section is missing or malformed.
    """
    given = parse(load_yaml(params).get("label_budgets"), list[LabelBudget], where=f"{params.name}: label_budgets")
    return tuple(sorted(given, key=by_size))
