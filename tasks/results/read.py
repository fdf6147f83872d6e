"""Reading `reports/metrics.json`, for whoever shows it. No torch here."""

import json
from pathlib import Path
from typing import Any

from graft.data.label_budget import ALL, Labels, by_size, read_labels
from tasks.common.errors import GraftError
from tasks.common.places import METRICS

SCORES = ("accuracy", "macro_f1", "balanced_accuracy")


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


def budgets(summary: dict[str, Any]) -> dict[Labels, dict[str, Any]]:
    """The rows of every label budget, ascending; the largest is the one that the candidate is chosen at."""
    found = {read_labels(labels): rows for labels, rows in summary["smaller_budgets"].items()}
    found[summary["budget"]["labels_per_class"]] = summary["strategies"]
    return {labels: found[labels] for labels in sorted(found, key=by_size)}


def labels_a_class(summary: dict[str, Any], labels: Labels) -> float:
    """A label budget as a number: of `all`, which is the largest, how many a class there are on average."""
    if labels != ALL:
        return labels
    return float(summary["budget"]["n_train"] / len(summary["test"]["classes"]))


def things(summary: dict[str, Any]) -> str:
    """What was tested on, in the plural."""
    return str(summary["test"].get("kind", "images"))


def ranked(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Strategies with what they reached on test, the best mean first. An order to read, not a choice."""
    metric = lead(summary)
    return sorted(summary["strategies"].items(), key=lambda item: (-item[1][metric]["mean"], item[0]))


def lead(summary: dict[str, Any]) -> str:
    """The name of the metric that leads: gains, ranks and verdicts are in it."""
    return str(summary["metric"]["name"])


def metric_in_words(metric: str) -> str:
    """'balanced accuracy', 'macro-F1'."""
    return "macro-F1" if metric == "macro_f1" else metric.replace("_", " ")


def heading(metric: str) -> str:
    """'Balanced accuracy', at the start of a line."""
    words = metric_in_words(metric)
    return words[0].upper() + words[1:]


def beside(summary: dict[str, Any]) -> list[str]:
    """The metrics that are shown next to the one that leads."""
    return [metric for metric in SCORES if metric != lead(summary)]
