"""Put the page together: numbers and figures into the template."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from graft.data.label_budget import ALL
from graft.data.split import Split
from tasks.common.yaml_files import yaml_text
from tasks.datasets.text.digest import shortened
from tasks.report.evidence import Evidence
from tasks.report.figures.feature_map import embedding_plot
from tasks.report.figures.forecast import outlook
from tasks.report.figures.lines import depth_plot, efficiency_panels, efficiency_plot, learning_curves, levels
from tasks.report.figures.palette import Look, looks
from tasks.report.figures.rows import gain_plot, gains_cut, recall_plot, reliability_plot
from tasks.report.provenance import code, versions
from tasks.report.source_choice import source_choice
from tasks.report.thumbnails import sheet, thumbnail
from tasks.results import words
from tasks.results.companions import other_companions, swept
from tasks.results.efficiency import candidates_match, matches_in_words, score_by_labels
from tasks.results.leaderboard import leaderboard
from tasks.results.searches import searches

MOST_MISTAKES = 24
MOST_LETTERS = 400
"""Of a text that the candidate gets wrong."""
MOST_CONFUSED = 16
"""Rows of the confusion matrix; of more classes, those that are confused most."""


def build_figures(evidence: Evidence) -> dict[str, Markup | None]:
    """The figures of the report as `<svg>` elements, by name; None for one that there is too little data for."""
    look = looks(evidence.summary)
    return {
        "gains": gain_plot(evidence.summary, look),
        "curves": learning_curves(evidence.trials, look),
        "label_efficiency": efficiency_plot(evidence.summary, look),
        "depth": depth_plot(evidence.summary, look),
        "recall": recall_plot(evidence.summary, look),
        "reliability": reliability_plot(evidence, look),
        "embedding": embedding_plot(evidence.embedding) if evidence.embedding else None,
    }


def build_report(evidence: Evidence, figures: dict[str, Markup | None]) -> str:
    """The whole report as one HTML page that needs nothing else."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (words.percent, words.points, words.interval, words.spread, words.short, words.breakable, words.rule)
    for filter_ in (*filters, words.labels_in_words, words.metric_in_words, words.heading):
        environment.filters[filter_.__name__] = filter_
    return environment.get_template("report.html.j2").render(_context(evidence) | {"figures": figures}) + "\n"


def _misfit(evidence: Evidence) -> list[str]:
    """Why the source's images, or without any the target's, do not fit the normalisation of given weights."""
    if of_source := evidence.pretrained.get("input"):
        return list(of_source["does_not_fit"])
    of_target = evidence.forecast.input
    return list(of_target.does_not_fit) if of_target else []


def _context(evidence: Evidence) -> dict[str, Any]:
    summary = evidence.summary
    look, by_budget = looks(summary), summary.budgets()
    seeds = summary.budget.seeds
    searched = searches(evidence.trials)
    parts = {"source": evidence.source, "pool": evidence.pool, "test": evidence.test}
    cards = evidence.card.domains.values()
    return {
        "summary": summary,
        "headline": words.headline(summary),
        "metric": summary.lead,
        "beside": summary.beside,
        "leads": words.leads_in_words(summary),
        "lead": " ".join(filter(None, (candidates_match(summary), words.other_verdicts(summary)))),
        "board": leaderboard(summary),
        "ranked": summary.ranked(),
        "symbols": words.SYMBOLS,
        "colours": {name: found.variable for name, found in look.items()},
        "many_seeds": len(seeds) > 1,
        "few_seeds": len(seeds) == 2,
        "many_strategies": any(found.faint for found in look.values()),
        "bands": _bands(look),
        "label_free": any(not row.labels_per_class for row in summary.strategies.values()),
        "n_pairs": len(look) * (len(look) - 1) // 2,
        "label_budgets": list(by_budget),
        "by_labels": score_by_labels(summary),
        "of_all": summary.as_number(ALL) if ALL in by_budget else None,
        "verdicts": {labels: {name: row.verdict for name, row in rows.items()} for labels, rows in by_budget.items()},
        "gains_cut": gains_cut(summary),
        "levels": levels(summary, look),
        "matches": matches_in_words(summary),
        "panels": efficiency_panels(summary, look),
        "swept": swept(summary),
        "companions": other_companions(summary),
        "searches": searched,
        "trainings": max((search.trainings for search in searched), default=0),
        "label_free_searched": any(not summary.strategies[found.strategy].labels_per_class for found in searched),
        "source_choices": [
            source_choice(name, weights, evidence.source, evidence.texts.get("source"))
            for name, weights in evidence.source_weights.items()
        ],
        "embedding": evidence.embedding,
        "trial": evidence.trials[evidence.candidate_index()],
        "metrics": {trial.strategy: trial.metrics for trial in evidence.trials},
        "confusion": _confusion(evidence),
        "mistakes": _mistakes(evidence),
        "card": evidence.card,
        "outlook": outlook(evidence.forecast, summary),
        "sheets": {name: sheet(split) for name, split in parts.items() if len(split) and not split.vocabulary},
        "things": things(evidence.test),
        "sources": things(evidence.source),
        "text_card": next((card.texts for card in cards if card.texts), None),
        "pretrained": evidence.pretrained,
        "misfit": _misfit(evidence),
        "description": evidence.description,
        "settings": evidence.settings,
        "weights_sha256": evidence.weights_sha256,
        "code": code(),
        "versions": versions(),
        # Sorted: DVC, which says when this page has to be made again, does not look at the order of keys.
        "parameters": yaml_text(dict(evidence.parameters)),
    }


def things(split: Split) -> str:
    """What a split holds, in the plural."""
    return "texts" if split.vocabulary else "images"


def _bands(look: dict[str, Look]) -> str:
    """What the bands of a figure with a line a strategy show."""
    banded = [name for name, found in look.items() if found.band]
    some = "" if len(banded) == len(look) else f" (of {words.listing(banded)})"
    return f"the range from the worst seed to the best{some}"


def _confusion(evidence: Evidence) -> dict[str, Any]:
    """The candidate's confusion matrix, with each cell's share of its row; of many classes the worst."""
    classes, matrix = evidence.test.classes, evidence.confusion
    wrong = [sum(matrix[k]) + sum(row[k] for row in matrix) - 2 * matrix[k][k] for k in range(len(classes))]
    shown = sorted(sorted(range(len(classes)), key=lambda k: (-wrong[k], k))[:MOST_CONFUSED])
    rows = [
        {
            "name": classes[i],
            "cells": [
                {"n": matrix[i][j], "share": matrix[i][j] / max(1, sum(matrix[i])), "right": i == j} for j in shown
            ],
        }
        for i in shown
    ]
    return {"names": [classes[k] for k in shown], "rows": rows, "left_out": len(classes) - len(shown)}


def _mistakes(evidence: Evidence) -> dict[str, Any]:
    """Test images or texts that the candidate gets wrong, the most confident first."""
    test, texts = evidence.test, evidence.texts.get("test")
    confidence, predictions = evidence.probabilities[evidence.candidate_index()].max(dim=1)
    wrong = (predictions != test.labels).nonzero().flatten().tolist()
    wrong.sort(key=lambda i: (-float(confidence[i]), i))
    shown = [
        {
            "picture": "" if texts else thumbnail(test.images[i]),
            "text": shortened(texts[i], MOST_LETTERS) if texts else "",
            "label": test.classes[int(test.labels[i])],
            "prediction": test.classes[int(predictions[i])],
            "confidence": float(confidence[i]),
            "index": i,
        }
        for i in wrong[:MOST_MISTAKES]
    ]
    return {"n": len(wrong), "shown": shown}
