"""The project files that Graft ships: those of its own checkout, which a wheel contains as data."""

from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder that contains the packages: the checkout, or where the wheel was installed."""
_IN_A_WHEEL = ROOT / "tasks" / "common" / "shipped_files"


@cache
def shipped_text(name: str) -> str:
    """The text of a shipped file, such as `params.yaml`."""
    folder = _IN_A_WHEEL if _IN_A_WHEEL.is_dir() else ROOT
    return (folder / name).read_text(encoding="utf-8")
