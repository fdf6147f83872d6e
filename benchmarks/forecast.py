"""Source models for one target: which does the forecast rank first, and which transfers best?

    python -m benchmarks.forecast [--data FOLDER] [--seeds 0 1 2]

The target is the demo's. Its rendered source is degraded in several ways (no augmentation, hardly trained, half of the
classes, another task, labels shuffled, bright paper, a smaller network); FOLDER adds mnist/train.npz and
usps/train.npz. Each source is a project run by `graft run`; then one project makes the forecast for all their networks,
and each score is compared with the accuracy of `linear_probe` and `fine_tune` from these networks: by rank correlation,
and by the accuracy lost by choosing the model that the score ranks first (regret).

Expected at 5 and 10 labels per class: the score that the forecast ranks by has a Kendall's tau of at least .5 with both
strategies, and a regret of at most 3 points.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.projects import clone, graft, set_parameters
from graft.data.label_budget import Labels
from tasks.datasets.demo.digits import make_demo
from tasks.forecast import ranked_by
from tasks.results.forecast_file import Forecast, ModelForecast, read_forecast
from tasks.results.forecast_score import score_ranking
from tasks.results.metrics_file import Summary, read_summary
from tasks.settings.forecast import OWN

LABEL_BUDGETS = [1, 5, 10]
REALISED = ("linear_probe", "fine_tune")
LEAST_TAU = 0.5
MOST_REGRET = 0.03
AUGMENTATION = {"crop": 2, "rotate": 15, "scale": 0.25, "shear": 20, "morphology": 0.4}

Digits = tuple[np.ndarray, np.ndarray]
"""Images (N, H, W) uint8 and labels (N,) int64."""


@dataclass(frozen=True)
class Source:
    """How a source model is trained."""

    change: Callable[[Digits], Digits] = lambda digits: digits
    """A change of the images and labels."""
    backbone: str = "convnet_small"
    steps: int = 1000
    augmented: bool = True
    classes: tuple[str, ...] = tuple("0123456789")


def shuffled(digits: Digits) -> Digits:
    """Labels that are independent of the images."""
    return digits[0], np.random.RandomState(0).permutation(digits[1])


def below_five(digits: Digits) -> Digits:
    """The classes 0-4."""
    kept = digits[1] < 5
    return digits[0][kept], digits[1][kept]


SOURCES = {
    OWN: Source(),
    "not augmented": Source(augmented=False),
    "20 steps": Source(steps=20),
    "digits 0-4": Source(below_five, classes=tuple("01234")),
    "odd or even": Source(lambda digits: (digits[0], digits[1] % 2), classes=("even", "odd")),
    "labels shuffled": Source(shuffled),
    "bright paper": Source(lambda digits: (255 - digits[0], digits[1])),
    "convnet_tiny": Source(backbone="convnet_tiny"),
}


def main() -> None:
    """Run a project per source, forecast with all, print the tables; exit with 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_demo(folder / "demo")
        rendered = read(folder / "demo/source/train.npz")
        pictures = {name: (source, source.change(rendered)) for name, source in SOURCES.items()}
        for real in ("mnist", "usps") if given.data else ():
            pictures[real] = Source(), read(given.data / real / "train.npz")
        reached = {}
        for number, (name, (source, digits)) in enumerate(pictures.items()):
            project = prepared(folder / str(number), folder / "demo", source, digits, given.seeds)
            graft(project, "run", "--update-data")
            reached[name] = dict(accuracies(read_summary(project)))
        models = {name: f"models/{number}" for number, name in enumerate(pictures) if name != OWN}
        for model in models.values():
            shutil.copytree(folder / Path(model).name / "build/pretrained", folder / "0" / model)
        set_parameters(folder / "0", forecast={"models": models})
        graft(folder / "0", "forecast")
        found = read_forecast(folder / "0")
    sys.exit(0 if show(Console(width=120), found, reached) else 1)


def read(path: Path) -> Digits:
    """The images and labels of an archive."""
    with np.load(path) as archive:
        return archive["images"], archive["labels"]


def prepared(folder: Path, demo: Path, source: Source, digits: Digits, seeds: list[int]) -> Path:
    """A project with that source and the demo's target."""
    project = clone(folder)
    shutil.copytree(demo / "target", project / "data/target")
    (project / "data/source").mkdir()
    np.savez(project / "data/source/train.npz", images=digits[0], labels=digits[1], class_names=source.classes)
    training = {"steps": source.steps, "batch_size": 128, "learning_rate": 0.01}
    training["augmentation"] = AUGMENTATION if source.augmented else {}
    set_parameters(
        project,
        seeds=seeds,
        label_budgets=LABEL_BUDGETS,
        strategies={name: {} for name in ("scratch", *REALISED)},
        label_free={},
        pretrain={"backbone": source.backbone, "training": training},
    )
    return project


def accuracies(summary: Summary) -> Iterator[tuple[tuple[Labels, str], float]]:
    """Mean test accuracy over seeds, by labels per class and strategy."""
    for labels, rows in summary.budgets().items():
        for name in ("scratch", *REALISED):
            yield (labels, name), rows[name].accuracy.mean


def show(console: Console, found: Forecast, reached: dict[str, dict[tuple[Labels, str], float]]) -> bool:
    """Print the forecast and the accuracies that were reached; returns whether it keeps its promises."""
    kept = True
    for labels in LABEL_BUDGETS:
        forecasts = {name: at(model, labels) for name, model in found.models.items()}
        scores = list(at(found.models[OWN], labels))
        table = Table(title=f"Source models for the demo's target, {labels} labels per class")
        table.add_column("source model")
        for heading in (*scores, *(f"{strategy} %" for strategy in ("scratch", *REALISED))):
            table.add_column(heading, justify="right")
        for name in sorted(forecasts, key=lambda name: -reached[name][labels, REALISED[0]]):
            values = (f"{value:.3f}" for value in forecasts[name].values())
            got = (f"{100 * reached[name][labels, strategy]:.1f}" for strategy in ("scratch", *REALISED))
            table.add_row(name, *values, *got)
        console.print(table)
        for strategy in REALISED:
            realised = {name: values[labels, strategy] for name, values in reached.items()}
            ranks = score_ranking(found, realised, labels).rank
            words = []
            for score in scores:
                rank = ranks[score]
                assert rank is not None
                tau = rank.kendall
                first = max(forecasts, key=lambda name: forecasts[name][score])
                regret = max(realised.values()) - realised[first]
                words.append(f"{score} {tau:+.2f} ({100 * regret:.1f})")
                if score == ranked_by(labels) and labels > 1:
                    kept &= tau >= LEAST_TAU and regret <= MOST_REGRET
            console.print(f"  tau with {strategy} (regret, points): " + ", ".join(words))
    average = {name: fmean(values.values()) for name, values in reached.items()}
    console.print(f"best on average: {max(average, key=lambda name: average[name])}; ranked: {found.ranking}")
    console.print("promise kept" if kept else "promise NOT KEPT")
    return kept


def at(model: ModelForecast, labels: int) -> dict[str, float]:
    """The scores of a model for a label budget."""
    return asdict(next(row.source for row in model.budgets if row.labels == labels))


if __name__ == "__main__":
    main()
