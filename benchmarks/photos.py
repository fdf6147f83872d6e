"""Photos: PACS photo -> art, cartoon, sketch, and ants against bees, from EfficientNet-Lite0's ImageNet weights.

    python -m benchmarks.photos --data FOLDER [--cases hymenoptera art_painting cartoon sketch] [--seeds 0 1 2]

FOLDER holds pacs/DOMAIN/{train,test}/CLASS/*, hymenoptera_256/{train,val}/CLASS/*, and
weights_efficientnet_lite0/*.pth. Every strategy that applies runs at 5 and 20 labels per class, and is compared with
scikit-learn's logistic regression on frozen features with the same labels. For PACS, the head is first trained on the
photo domain, which is the source; for ants and bees, only the source's weights are available.

Expected: in each case, at each budget, the best strategy beats frozen features + logistic regression.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression

from benchmarks import study
from graft.data.sampling import draw_labels, hold_out
from graft.data.split import Domains, Split
from graft.loop import train
from graft.measures.comparison import gains_over, seed_interval
from graft.measures.findings import verdict
from graft.networks.efficientnet_lite import MEAN, STD, from_published
from graft.networks.network import Description, Network, predict
from graft.settings import Augmentation, Training
from graft.strategies import strategy_class, strategy_names
from graft.strategies.linear_probe import LinearProbe
from tasks.datasets.pictures import fit, read_picture

CONSOLE = Console(width=110)
CASES = ("hymenoptera", "art_painting", "cartoon", "sketch")
SIZES = {"hymenoptera": 224}
"""Image size in pixels; 128 for the others."""
BUDGETS = [5, 20]
TRAINING = Training(
    steps=40,
    batch_size=16,
    learning_rate=1e-3,
    evaluations=4,
    precision="float32",
    augmentation=Augmentation(flip=0.5, scale=0.1, crop=8),
)
STUDENT = "torchvision:shufflenet_v2_x0_5"
"""For `distill`: a fifth of the teacher's size, made for photos; the default student is for 8-32 px."""


def main() -> None:
    """Run every case, print its table, and exit with 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    for_pictures = [name for name in strategy_names() if not strategy_class(name)().text_bytes]
    parser.add_argument("--strategies", nargs="+", choices=for_pictures, default=for_pictures)
    given = parser.parse_args()
    kept = True
    for case in given.cases:
        problem = hymenoptera(given.data) if case == "hymenoptera" else pacs(given.data, case)
        with tempfile.TemporaryDirectory() as folder:
            study.save(problem, Path(folder, case))
            strategies: dict[str, dict[str, Any]] = {name: {} for name in {"scratch", *given.strategies}}
            if "distill" in strategies:
                strategies["distill"] = {"student": STUDENT, "images": "both" if problem.source else "unlabelled"}
            rows = list(study.run(Path(folder, case), strategies, BUDGETS, given.seeds, TRAINING))
        probe = logistic_regression(problem, imagenet(given.data, problem.pool), given.seeds)
        kept &= show(case, rows, probe, given.seeds)
    sys.exit(0 if kept else 1)


def imagenet(data: Path, pictures: Split) -> Network:
    """EfficientNet-Lite0 with its ImageNet weights, for images of the given size."""
    (path,) = (data / "weights_efficientnet_lite0").glob("*.pth")
    names = tuple(f"ImageNet {index}" for index in range(1000))
    description = Description("efficientnet_lite0", names, 3, pictures.images.shape[2], MEAN, STD)
    network = Network(description)
    network.load_state_dict(from_published(torch.load(path, map_location="cpu", weights_only=True)))
    return network.eval()


def hymenoptera(data: Path) -> study.Problem:
    """Ants and bees; the source is ImageNet, whose images are not available."""
    size = SIZES["hymenoptera"]
    pool, test = (read_folder(data / "hymenoptera_256" / part, size) for part in ("train", "val"))
    return study.Problem(imagenet(data, pool), pool, test, None)


def pacs(data: Path, target: str, size: int = 128, source: str = "photo") -> study.Problem:
    """A domain of PACS; the source is another, by default photos, with a head trained on the frozen ImageNet backbone.

    Training the backbone on the source's 378 images as well would spoil it for every other domain: batch norm adopts
    their statistics.
    """
    known, pool, test = (
        read_folder(data / "pacs" / part, size) for part in (f"{source}/train", f"{target}/train", f"{target}/test")
    )
    torch.manual_seed(0)  # a case does not depend on those before it
    strategy = LinearProbe()
    network = strategy.adapt(imagenet(data, known), known.classes)
    train(network, strategy, Domains(*hold_out(known, 0.1, seed=0)), TRAINING)
    return study.Problem(strategy.finish(network), pool, test, known)


def read_folder(folder: Path, size: int) -> Split:
    """Images CLASS/FILE, in colour, stretched to a square of `size` pixels."""
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    paths = [(path, label) for label, name in enumerate(classes) for path in sorted((folder / name).iterdir())]
    images = np.stack([fit(read_picture(path, 3), size) for path, _ in paths])
    return Split(torch.from_numpy(images), torch.tensor([label for _, label in paths]), classes)


def logistic_regression(problem: study.Problem, network: Network, seeds: Iterable[int]) -> dict[int, list[float]]:
    """Test accuracy by label budget, one value per seed, of scikit-learn's classifier on frozen ImageNet features."""
    pool, test = (predict(network, split.images)[1] for split in (problem.pool, problem.test))
    indexed = Split(pool, problem.pool.labels, problem.pool.classes)
    found: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
    for budget in BUDGETS:
        for seed in seeds:
            drawn = draw_labels(indexed, budget, seed).labelled
            classifier = LogisticRegression(max_iter=2000).fit(drawn.images[:].numpy(), drawn.labels.numpy())
            found[budget].append(float(classifier.score(test.numpy(), problem.test.labels.numpy())))
    return found


def show(case: str, rows: list[study.Row], probe: dict[int, list[float]], seeds: list[int]) -> bool:
    """Print the table of a case; returns whether the best strategy beats the logistic regression at each budget."""
    kept = True
    why_not = {row.strategy: row.why_not for row in rows if row.why_not}
    for budget in BUDGETS:
        names = sorted({row.strategy for row in rows if row.labels in (0, budget)} - why_not.keys())
        right = [[r.correct for r in rows if r.strategy == name and r.labels in (0, budget)] for name in names]
        correct = torch.from_numpy(np.array(right))
        gains = gains_over(correct, names.index("scratch"), confidence=0.95, resamples=10_000, seed=0)
        table = Table(title=f"{case}, {budget} labels per class, test accuracy %, mean of {len(seeds)} seeds")
        for heading in ("strategy", "accuracy", "gain over scratch", "verdict", "s per trial"):
            table.add_column(heading, justify="left" if heading == "strategy" else "right")
        scores = {name: correct[i].double().mean(dim=1).tolist() for i, name in enumerate(names)}
        for name in sorted(names, key=lambda name: -fmean(scores[name])):
            gain, seconds = gains[names.index(name)], [r.seconds for r in rows if r.strategy == name]
            table.add_row(
                name,
                in_percent(scores[name]),
                "" if name == "scratch" or gain.low is None or gain.high is None
                else f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]",
                "" if name == "scratch" else verdict(gain),
                f"{fmean(seconds):.0f}",
            )  # fmt: skip
        table.add_row("logistic regression", in_percent(probe[budget]), "", "frozen ImageNet features", "")
        CONSOLE.print(table)
        best = max(fmean(values) for values in scores.values())
        kept &= best > fmean(probe[budget])
    for name, reason in why_not.items():
        CONSOLE.print(f"{name} does not apply: {reason}")
    CONSOLE.print("promise kept" if kept else "promise NOT KEPT")
    return kept


def in_percent(values: list[float]) -> str:
    """Mean and half-width of the interval over seeds."""
    found = seed_interval(values, 0.95)
    half = "" if found.low is None or found.high is None else f" ± {50 * (found.high - found.low):.1f}"
    return f"{100 * found.mean:.1f}{half}"


if __name__ == "__main__":
    main()
