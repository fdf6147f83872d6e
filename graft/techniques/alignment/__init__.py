"""Alignment losses between source and target features, one file per method; `build_alignment` makes one by name."""

from typing import Literal

from graft.techniques.alignment.base import Alignment
from graft.techniques.alignment.cdan import CdanAlignment
from graft.techniques.alignment.coral import CoralAlignment
from graft.techniques.alignment.dann import DannAlignment
from graft.techniques.alignment.mcc import MccAlignment
from graft.techniques.alignment.mmd import MmdAlignment

AlignmentName = Literal["mmd", "coral", "dann", "cdan", "mcc"]


def build_alignment(name: AlignmentName, feature_size: int, classes: int) -> Alignment:
    """A new alignment of that name, for a network with this many features and classes."""
    if name == "dann":
        return DannAlignment(feature_size)
    if name == "cdan":
        return CdanAlignment(feature_size, classes)
    return {"mmd": MmdAlignment, "coral": CoralAlignment, "mcc": MccAlignment}[name]()
