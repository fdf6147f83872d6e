"""Stage `evaluate`: every trial on the target's test split, the verdicts, and the report.

Reads build/trials, build/data, build/pretrained, build/chosen, build/forecast and params.yaml; writes
build/evaluation/predictions.npz, reports/metrics.json and reports/index.html. The only stage that sees the test split.

Legend: M trials, N test images, K classes.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.data.split import Split
from graft.measures.cost import multiply_adds, parameters
from graft.measures.lead_metric import lead_metric
from graft.measures.metrics import score
from graft.measures.projection import draw, project
from graft.networks.device import choose_device
from graft.networks.network import Network, predict
from graft.settings import Metric
from tasks.artifacts.networks import load_network
from tasks.artifacts.splits import load_split, load_texts
from tasks.artifacts.tokens import as_read_by
from tasks.common.environment import prepare_environment
from tasks.common.errors import GraftError
from tasks.common.files import new_folder, write_json, write_text
from tasks.common.npz import save_npz
from tasks.common.places import EVALUATION, METRICS, PARAMS, POOL, REPORT, TEST, TRIALS
from tasks.common.typed_json import AGAIN
from tasks.common.yaml_files import load_yaml
from tasks.datasets.card_file import read_card
from tasks.report.evidence import Embedding, Evidence
from tasks.results.forecast_file import Forecast, read_forecast
from tasks.results.forecast_score import realised_gains, score_forecast
from tasks.results.metrics_file import ForecastScore, SourceNetwork, Summary
from tasks.results.summary import DIGITS, Measured, Said, summarise
from tasks.settings.evaluate import EvaluateSettings
from tasks.settings.yaml_sections import read_section
from tasks.source_models.in_use import network_of, pictures_of
from tasks.stage.process import run_stage
from tasks.trials.on_disk import Trial, choose_candidate, load_trials
from tasks.trials.plan import BASELINE, FROM, Plan, read_plan, sweep

_MOST_DOTS = 300
"""Images per domain in the embedding, at most."""


def evaluate(settings: EvaluateSettings) -> None:
    """Score all trials of `params.yaml`, compare them, and write predictions, metrics and the report.

    Raises:
        GraftError: trials are missing, or do not match each other or the test split.
    """
    # matplotlib, which the report uses, reads its folders from the environment when it is imported.
    from tasks.report.build import build_figures, build_report
    from tasks.report.figures.svg import standalone

    torch.set_num_threads(settings.threads)
    plan = read_plan(PARAMS)
    sweep(TRIALS, plan)
    trials = load_trials(TRIALS, plan)
    test = load_split(TEST)
    probabilities = torch.stack([_answers(trial, trial.folder, test) for trial in trials])
    measured = [_measure(trial, found, test) for trial, found in zip(trials, probabilities, strict=True)]
    metric = _lead_metric(settings, test)
    candidate = choose_candidate(trials, plan, metric)
    forecast = read_forecast(Path())
    source = _source_network(test)
    summary = summarise(plan, measured, candidate, test, metric, settings, source)
    summary = replace(summary, forecast=_score_forecast(forecast, summary))
    evidence = _evidence(summary, forecast, plan, measured, candidate, probabilities, test, settings)
    figures = build_figures(evidence)
    page = build_report(evidence, figures)
    with new_folder(EVALUATION) as folder:
        _write_predictions(folder / "predictions.npz", trials, probabilities, test.labels)
        for name, figure in figures.items():
            if figure is not None:
                write_text(folder / "figures" / f"{name}.svg", standalone(figure))
    write_json(METRICS, summary.to_json())
    write_text(REPORT, page)


def _score_forecast(forecast: Forecast, summary: Summary) -> dict[str, ForecastScore]:
    """How right the forecast, which is of the project's own source model, was about each strategy."""
    if not forecast.own_cells:
        return {}
    names = [name for name in summary.strategies if name != BASELINE and FROM not in name]
    return {name: score_forecast(forecast, realised_gains(summary, name)) for name in names}


def _measure(trial: Trial, probabilities: Tensor, test: Split) -> Measured:
    def said(found: Tensor) -> Said:
        return Said(score(found, test.labels), found.argmax(dim=1))

    companions = {name: said(_answers(trial, folder, test)) for name, folder in trial.companions.items()}
    own = said(probabilities)
    return Measured(own.scores, own.predictions, trial, companions)


def _lead_metric(settings: EvaluateSettings, test: Split) -> Metric:
    counts = torch.bincount(test.labels, minlength=len(test.classes)).tolist()
    return lead_metric(None if settings.metric == "auto" else settings.metric, counts)


def _answers(trial: Trial, folder: Path, test: Split) -> Tensor:
    """Probabilities (N, K) of a trial's network in `folder`, which must have the classes of the test split."""
    network = load_network(folder)
    if network.description.classes != test.classes:
        raise GraftError(
            f"{folder}: predicts {', '.join(network.description.classes)}, "
            f"but the test split has {', '.join(test.classes)}",
            f"Run the trial again with: {trial.entry.command}",
        )
    return predict(network.to(choose_device()), as_read_by(folder, test, TEST).images)[0]


def _source_network(test: Split) -> SourceNetwork:
    """The unchanged source network; its accuracy is given if it has the target's classes, matched by name."""
    folder = network_of()
    network = load_network(folder).to(choose_device())
    known, accuracy = network.description.classes, None
    reads = isinstance(network.description.reads, type(test.reads))
    if reads and set(test.classes) <= set(known):
        columns = [known.index(name) for name in test.classes]
        right = predict(network, as_read_by(folder, test, TEST).images)[0][:, columns].argmax(dim=1) == test.labels
        accuracy = round(right.double().mean().item(), DIGITS)
    return SourceNetwork(network.description.backbone, accuracy, parameters(network), multiply_adds(network))


def _evidence(
    summary: Summary,
    forecast: Forecast,
    plan: Plan,
    measured: list[Measured],
    candidate: Trial,
    probabilities: Tensor,
    test: Split,
    settings: EvaluateSettings,
) -> Evidence:
    folders = {"source": pictures_of(), "test": TEST}
    source = load_split(folders["source"])
    compared = [i for i, found in enumerate(measured) if found.trial.entry.labels in (0, plan.budget)]
    measured, probabilities = [measured[i] for i in compared], probabilities[compared]
    trials = [found.trial for found in measured]
    network = load_network(candidate.folder).to(choose_device())
    return Evidence(
        summary=summary,
        trials=trials,
        probabilities=probabilities,
        confusion=measured[trials.index(candidate)].scores.confusion,
        source=source,
        source_weights=_source_weights(trials, source),
        pool=load_split(POOL),
        test=test,
        texts={name: texts for name, at in folders.items() if (texts := load_texts(at)) is not None},
        embedding=_embed(
            network,
            as_read_by(candidate.folder, source, folders["source"]),
            as_read_by(candidate.folder, test, TEST),
            settings.seed,
        ),
        card=read_card(Path()),
        forecast=forecast,
        pretrained=_read_json(network_of() / "metrics.json"),
        description=network.description,
        weights_sha256=hashlib.sha256((candidate.folder / "model.safetensors").read_bytes()).hexdigest(),
        settings=settings,
        parameters=load_yaml(PARAMS),
    )


def _source_weights(trials: list[Trial], source: Split) -> dict[str, Tensor]:
    """How often each source image was drawn, per seed, for strategies that do not draw all equally often."""
    found: dict[str, list[Tensor]] = {}
    for trial in trials:
        path = trial.folder / "source_weights.npy"
        if not path.exists():
            continue
        weights = torch.from_numpy(np.load(path, allow_pickle=False))
        if len(weights) != len(source):
            raise GraftError(
                f"{path}: has weights for {len(weights)} source images, but there are {len(source)}",
                f"Run the trial again with: {trial.entry.command}",
            )
        found.setdefault(trial.strategy, []).append(weights)
    return {strategy: torch.stack(weights) for strategy, weights in found.items()}


def _embed(network: Network, source: Split, test: Split, seed: int) -> Embedding | None:
    """The network's features of a few hundred images or texts of both domains, projected; None if there are too few, or
    if it cannot read both."""
    if not len(source) or not isinstance(source.reads, type(test.reads)):
        return None
    shown = [split.take(draw(split.labels, _MOST_DOTS, seed)) for split in (source, test)]
    features = torch.cat([predict(network, split.images)[1] for split in shown])
    if len(features) < 4:
        return None
    classes = tuple(split.classes[int(label)] for split in shown for label in split.labels)
    return Embedding(project(features, seed), classes, sources=len(shown[0]))


def _write_predictions(path: Path, trials: list[Trial], probabilities: Tensor, labels: Tensor) -> None:
    """`labels` (N,), `trials` (M,) names, `probabilities` (M, N, K) float32; uncompressed, so the bytes are the same on
    every machine."""
    names = np.array([trial.name for trial in trials])
    save_npz(path, labels=labels.numpy(), trials=names, probabilities=probabilities.numpy().astype(np.float32))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraftError(f"{path}: cannot be read: {error}", AGAIN) from None
    return content


if __name__ == "__main__":
    prepare_environment(Path.cwd())
    run_stage(lambda: evaluate(read_section(PARAMS, "evaluate", EvaluateSettings)))
