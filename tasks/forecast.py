"""Stage `forecast`: the gap between the domains, and how well the source's features suit the target before training.

Reads build/pretrained, build/sources, build/data/{source,pool} and sections `forecast`, `sources`, `use`, `seeds`,
`label_budgets` and `finetune.folds`; writes build/forecast/forecast.json, and into build/chosen the
source model that the trials start from. The test split is never read here.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch
from torch import Tensor

from graft.data.label_budget import Labels, by_size
from graft.data.sampling import LabelledTarget, draw_labels, folds
from graft.data.split import Split
from graft.measures.comparison import seed_interval
from graft.measures.domain_gap import domain_gap
from graft.measures.findings import DomainGap, Interval, verdict
from graft.measures.input_fit import input_fit
from graft.measures.transferability import h_score, leep, logme, nce, probe_accuracy
from graft.networks.device import choose_device
from graft.networks.network import Network, predict
from graft.settings import Seed
from tasks.artifacts.networks import load_description, load_network
from tasks.artifacts.packed import Packed
from tasks.common.errors import GraftError
from tasks.common.files import new_folder, write_json
from tasks.common.places import FORECAST, PARAMS, POOL, PRETRAINED, SOURCE
from tasks.common.yaml_files import load_yaml
from tasks.datasets.text.tokenizer import TOKENIZER
from tasks.results.forecast_file import (
    BodyScores,
    BudgetScores,
    CellScores,
    Forecast,
    Lifts,
    ModelForecast,
    NormalisedInput,
    RankedBy,
    SourceScores,
)
from tasks.settings.finetune import FinetuneSettings
from tasks.settings.forecast import OWN, ForecastSettings
from tasks.settings.label_budgets import read_label_budgets
from tasks.settings.sources import BEST, read_use, source_names
from tasks.settings.yaml_sections import parse, read_section
from tasks.source_models.compare import Seen, look, model_folders
from tasks.source_models.in_use import choose
from tasks.stage.process import run_stage

S = TypeVar("S", bound=BodyScores)
_FEWEST_FOR_EVIDENCE = 3
"""Labels per class from which LogME ranks models. With fewer, the prior dominates its evidence: for nine source models
and the demo's target, its order at 1 label per class was unrelated to their final accuracy (Kendall's tau 0.1); from 3
labels on it was related (0.8)."""

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Cell:
    """A label budget and a seed.

    Attributes:
        paid: (N,) places in the pool of the images that are paid for.
        tests: places of images that a probe learns from and of those that it is tested on: the folds of a
            cross-validation. Where no class has two images, it is tested on those that larger budgets pay for.
    """

    labels: Labels
    seed: int
    paid: Tensor
    tests: list[tuple[Tensor, Tensor]]


def write_forecast(project: Path) -> None:
    """Run the stage: the forecast for the pretrained network and for the further models of `params.yaml`."""
    settings = read_section(project / PARAMS, "forecast", ForecastSettings)
    torch.set_num_threads(settings.threads)
    use, found = read_use(project / PARAMS), forecast(project, settings)
    candidates = [OWN, *source_names(project / PARAMS)]
    chosen = next((name for name in found.ranking if name in candidates), OWN) if use == BEST else use
    choose(project, chosen)
    with new_folder((project / FORECAST).parent) as folder:
        write_json(folder / FORECAST.name, replace(found, chosen=chosen).to_json())


def forecast(project: Path, settings: ForecastSettings, further: Mapping[str, Path] | None = None) -> Forecast:
    """The content of forecast.json; `further` are folders of more source models by name, inside the project or not.

    Raises:
        GraftError: a model or the data cannot be read, or there are too few labels for a budget.
    """
    folders = model_folders(project, settings) | dict(further or {})
    pool = Packed.load(project / POOL)
    cells = _cells(project, pool.split)
    unfit = {name: reason for name, folder in folders.items() if (reason := _unfit(folder, pool))}
    models = {name: _assess(folder, pool, cells, settings) for name, folder in folders.items() if name not in unfit}
    score = ranked_by(cells[-1].labels)

    def best_first(name: str) -> tuple[float, str]:
        scores = models[name].budgets[-1].source
        return -(scores.logme if score == "logme" or scores.probe is None else scores.probe), name

    return Forecast(
        gap=None if OWN in unfit else _gap(project, pool, settings),
        input=None if OWN in unfit else _input(project, pool),
        models=models,
        unfit=unfit,
        ranked_by=score,
        ranking=tuple(sorted(models, key=best_first)),
    )


def _unfit(folder: Path, pool: Packed) -> str:
    """Why a model cannot be ranked for the target; empty if it can."""
    try:
        read = load_description(folder).reads
    except (OSError, ValueError, TypeError) as error:
        raise GraftError(f"{folder}: not a network that can be read: {error}") from None
    if isinstance(read, type(pool.split.reads)):
        return ""
    return f"it reads {read}, but the target is {pool.split.reads}"


def ranked_by(labels: Labels) -> RankedBy:
    """The score by which source models are ranked with that many labels per class."""
    return "logme" if by_size(labels) >= _FEWEST_FOR_EVIDENCE else "probe"


def _cells(project: Path, pool: Split) -> list[Cell]:
    """Every label budget with every seed; the images are those that `finetune` draws."""
    content = load_yaml(project / PARAMS)
    budgets = read_label_budgets(project / PARAMS)
    seeds = parse(content.get("seeds"), list[Seed], where=f"{PARAMS}: seeds")
    if not (budgets and seeds):
        raise GraftError(f"{PARAMS}: label_budgets and seeds need at least one number each")
    count = read_section(project / PARAMS, "finetune", FinetuneSettings).folds
    try:
        drawn = {(n, s): draw_labels(pool, n, s) for n in budgets for s in seeds}
    except ValueError as error:
        raise GraftError(f"{PARAMS}: label_budgets: {error}") from None
    return [
        Cell(n, s, target.paid, _tests(target, drawn[budgets[-1], s].paid, count)) for (n, s), target in drawn.items()
    ]


def _tests(target: LabelledTarget, most: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    paid = target.paid
    if found := folds(target.labelled, count):
        return [(_without(paid, paid[held]), paid[held]) for held in found]
    others = _without(most, paid)
    return [(paid, others)] if len(others) else []


def _without(places: Tensor, some: Tensor) -> Tensor:
    return places[~torch.isin(places, some)]


def _gap(project: Path, pool: Packed, settings: ForecastSettings) -> DomainGap | None:
    """The gap between source and target as the pretrained network sees them; None with too little of one."""
    source = Packed.load(project / SOURCE)
    if not len(source.split):
        return None
    network = load_network(project / PRETRAINED).to(choose_device())
    generator = torch.Generator().manual_seed(settings.seed)
    features = []
    tokenizer = project / PRETRAINED / TOKENIZER
    for packed in (source, pool):
        drawn = torch.randperm(len(packed.split), generator=generator)[: settings.images]
        features.append(predict(network, packed.read_by(network.description, tokenizer, drawn))[1])
    try:
        found = domain_gap(*features, permutations=settings.permutations, seed=settings.seed)
    except ValueError:
        return None
    images, *distances = astuple(found)
    return DomainGap(images, *map(_short, distances))


def _input(project: Path, pool: Packed) -> NormalisedInput | None:
    """How the target's images fit the normalisation of given weights; None if there are no given weights."""
    made = project / PRETRAINED / "metrics.json"
    if pool.split.vocabulary or not made.exists() or "weights" not in json.loads(made.read_text(encoding="utf-8")):
        return None
    seen = input_fit(load_network(project / PRETRAINED), pool.split.images)
    for problem in seen.faults:
        print(f"warning: the target's statistics do not fit the weights' normalisation: {problem}", flush=True)
    return NormalisedInput(seen.mean, seen.std, seen.spread, tuple(seen.faults))


def _assess(folder: Path, pool: Packed, cells: Sequence[Cell], settings: ForecastSettings) -> ModelForecast:
    """The scores of the source model in `folder` on every cell, and those of untrained bodies of the same kind."""
    network = load_network(folder)
    places = torch.cat([places for cell in cells for places in (cell.paid, *(held for _, held in cell.tests))])
    seen = look(network, pool, places, folder / TOKENIZER)
    untrained = []
    for number in range(settings.untrained):
        torch.manual_seed(settings.seed + number)
        untrained.append(look(Network(network.description), pool, places, folder / TOKENIZER))
    labels = pool.split.labels
    rows = [
        CellScores(
            labels=cell.labels,
            seed=cell.seed,
            source=_source_scores(seen, labels, cell),
            random=_mean([_body_scores(body, labels, cell) for body in untrained]),
        )
        for cell in cells
    ]
    description = network.description
    return ModelForecast(
        backbone=description.backbone,
        classes=len(description.classes),
        input=tuple(network.example().shape[1:]),
        weights_sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        cells=tuple(rows),
        budgets=tuple(
            _over_seeds([row for row in rows if row.labels == n]) for n in dict.fromkeys(c.labels for c in cells)
        ),
    )


def _body_scores(seen: Seen, labels: Tensor, cell: Cell) -> BodyScores:
    """The scores of the features: LogME, H-score, and the accuracy of a probe in a cross-validation."""
    features, known = seen.at(seen.features, cell.paid), labels[cell.paid]

    def right(training: Tensor, held: Tensor) -> float:
        found, tested = (seen.at(seen.features, places) for places in (training, held))
        return len(held) * probe_accuracy(found, labels[training], tested, labels[held])

    tested = sum(len(held) for _, held in cell.tests)
    return BodyScores(
        logme=_short(logme(features, known)),
        h_score=_short(h_score(features, known)),
        probe=_short(sum(right(*test) for test in cell.tests) / tested) if tested else None,
    )


def _source_scores(seen: Seen, labels: Tensor, cell: Cell) -> SourceScores:
    """The same, and what the answers of the source's head say, if it has one: LEEP and NCE."""
    probabilities, known = seen.at(seen.probabilities, cell.paid), labels[cell.paid]
    has_head = probabilities.shape[1] > 0
    return SourceScores(
        **asdict(_body_scores(seen, labels, cell)),
        leep=_short(leep(probabilities, known)) if has_head else None,
        nce=_short(nce(probabilities, known)) if has_head else None,
    )


def _over_seeds(rows: list[CellScores]) -> BudgetScores:
    """For one label budget: means over seeds, the lifts (source minus random) with intervals, and the expectation."""

    def lift(name: str) -> Interval:
        ahead = [getattr(row.source, name) - getattr(row.random, name) for row in rows]
        return seed_interval(ahead, _CONFIDENCE).rounded(4)

    is_tested = all(row.source.probe is not None for row in rows)
    lifts = Lifts(logme=lift("logme"), h_score=lift("h_score"), probe=lift("probe") if is_tested else None)
    return BudgetScores(
        labels=rows[0].labels,
        source=_mean([row.source for row in rows]),
        random=_mean([row.random for row in rows]),
        lift=lifts,
        # Not from LogME's lift: that is above zero even for a body that learned shuffled labels.
        expected=verdict(lifts.probe) if lifts.probe else "no evidence",
    )


def _mean(scores: Sequence[S]) -> S:
    """The mean of each score; None if it is missing anywhere."""
    found = {field.name: [getattr(each, field.name) for each in scores] for field in fields(scores[0])}
    means: dict[str, Any] = {name: None if None in values else _short(fmean(values)) for name, values in found.items()}
    return type(scores[0])(**means)


def _short(value: float) -> float:
    """Rounded to four significant digits."""
    return float(f"{value:.4g}") + 0.0


if __name__ == "__main__":
    run_stage(lambda: write_forecast(Path()))
