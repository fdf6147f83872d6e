"""Reading `reports/metrics.json`, for whoever shows it. No torch here."""

import json
from pathlib import Path
from typing import Any

from tasks.errors import GraftError

METRICS = Path("reports/metrics.json")


def read_summary(root: Path) -> dict[str, Any]:
    """The result of the project in `root`.

    Raises:
        GraftError: there is none yet, or its file is damaged.
    """
    try:
        found: dict[str, Any] = json.loads((root / METRICS).read_text(encoding="utf-8"))
        found["strategies"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise GraftError(f"{METRICS}: no result that can be read: {error}", "Make it: graft run") from None
    return found


def budgets(summary: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The rows of every label budget, ascending; the largest is the one that the candidate is chosen at."""
    smaller = {int(labels): rows for labels, rows in summary["smaller_budgets"].items()}
    return dict(sorted({**smaller, summary["budget"]["labels_per_class"]: summary["strategies"]}.items()))


def ranked(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Strategies with what they reached, best mean test accuracy first. An order to read, not a choice."""
    return sorted(summary["strategies"].items(), key=lambda item: (-item[1]["accuracy"]["mean"], item[0]))
