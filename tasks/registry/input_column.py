"""The input column of a registered model, by the kind of its network."""

from collections.abc import Mapping
from typing import Any

PICTURE = "picture"
"""One PNG or JPEG file per row (base64 over REST)."""
TEXT = "text"
"""One string per row."""


def column_of(description: Mapping[str, Any]) -> str:
    """The input column of a network with this description (model.json)."""
    return TEXT if description.get("vocabulary") else PICTURE
