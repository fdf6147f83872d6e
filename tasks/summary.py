"""The content of `reports/metrics.json`: every strategy's scores, gains and verdict. No files here.

Legend: M trials (strategy by strategy, seed by seed), S seeds, N test pictures.
"""

from statistics import fmean
from typing import Any

from torch import Tensor

from graft.comparison import Interval, accuracy_gains, seed_interval, verdict
from graft.metrics import Scores
from graft.split import Split
from tasks.settings.evaluate import EvaluateSettings
from tasks.trials import BASELINE, SEED_METRICS, Plan, Trial

DIGITS = 4
CONTROL = "source_only"


def summarise(
    plan: Plan,
    trials: list[Trial],
    scores: list[Scores],
    correct: Tensor,
    candidate: Trial,
    test: Split,
    settings: EvaluateSettings,
) -> dict[str, Any]:
    """All of `reports/metrics.json`; `correct` (M, N) says which trial is right about which picture."""
    budget = trials[0].metrics
    return {
        "candidate": {
            "trial": candidate.name,
            "strategy": candidate.strategy,
            "seed": candidate.seed,
            "chosen_by": "mean validation accuracy",
            "validation_accuracy": round(candidate.metrics["validation"]["accuracy"], DIGITS),
        },
        "test": {"n": len(test), "classes": list(test.classes)},
        "budget": {
            "labels_per_class": budget["labels_per_class"],
            "validation_per_class": budget["validation_per_class"],
            "seeds": list(plan.seeds),
        },
        "strategies": _strategies(plan, trials, scores, correct, test, settings),
    }


def _strategies(
    plan: Plan, trials: list[Trial], scores: list[Scores], correct: Tensor, test: Split, settings: EvaluateSettings
) -> dict[str, Any]:
    over_scratch = _gains(plan, correct, BASELINE, settings)
    over_source_only = _gains(plan, correct, CONTROL, settings) if CONTROL in plan.strategies else {}
    rows = {}
    for name in plan.strategies:
        own = [found for found, trial in zip(scores, trials, strict=True) if trial.strategy == name]
        validation = [trial.metrics["validation"]["accuracy"] for trial in trials if trial.strategy == name]
        gain = over_scratch[name]
        rows[name] = {
            **{metric: _over_seeds([getattr(found, metric) for found in own], settings) for metric in SEED_METRICS},
            "per_class_recall": {
                label: _mean(found.per_class_recall[k] for found in own) for k, label in enumerate(test.classes)
            },
            "validation_accuracy": round(fmean(validation), DIGITS),
            "gain_over_scratch": _plain(gain),
            "gain_over_source_only": _plain(over_source_only[name]) if over_source_only else None,
            "verdict": "baseline" if name == BASELINE else verdict(gain),
        }
    return rows


def _gains(plan: Plan, correct: Tensor, baseline: str, settings: EvaluateSettings) -> dict[str, Interval]:
    """Each strategy's gain over `baseline`, already rounded: the verdict has to follow from the printed numbers."""
    gains = accuracy_gains(
        correct.view(len(plan.strategies), len(plan.seeds), -1),
        plan.strategies.index(baseline),
        confidence=settings.confidence,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    return {name: gain.rounded(DIGITS) for name, gain in zip(plan.strategies, gains, strict=True)}


def _over_seeds(values: list[float], settings: EvaluateSettings) -> dict[str, Any]:
    interval = seed_interval(values, settings.confidence).rounded(DIGITS)
    return {**_plain(interval), "seeds": [round(value, DIGITS) for value in values]}


def _plain(interval: Interval) -> dict[str, float | None]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), DIGITS) if known else None
