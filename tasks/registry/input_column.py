"""The only column of a registered model's input, by what its network reads."""

from collections.abc import Mapping
from typing import Any

PICTURE = "picture"
"""A PNG or JPEG file in each row (base64 over REST)."""
TEXT = "text"
"""A string in each row."""


def column_of(description: Mapping[str, Any]) -> str:
    """The column that a network of this description (model.json) is asked with."""
    return TEXT if description.get("vocabulary") else PICTURE
