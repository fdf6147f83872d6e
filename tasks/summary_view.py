"""Reading `reports/metrics.json`, for whoever shows it. No torch here."""

from typing import Any


def budgets(summary: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The rows of every label budget, ascending; the largest is the one that the candidate is chosen at."""
    smaller = {int(labels): rows for labels, rows in summary["smaller_budgets"].items()}
    return dict(sorted({**smaller, summary["budget"]["labels_per_class"]: summary["strategies"]}.items()))


def things(summary: dict[str, Any]) -> str:
    """What was tested on, in the plural."""
    return str(summary["test"].get("kind", "pictures"))


def ranked(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Strategies with what they reached, best mean test accuracy first. An order to read, not a choice."""
    return sorted(summary["strategies"].items(), key=lambda item: (-item[1]["accuracy"]["mean"], item[0]))
