"""A tiny project up to its evaluation: images of bright blocks, and networks that learned them more or less."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.nn.functional import cross_entropy

from graft.data.label_budget import ALL, Labels, by_size
from graft.data.sampling import draw_labels
from graft.data.split import Split
from graft.measures.metrics import score
from graft.networks.network import Description, Network, predict
from graft.settings import Training
from graft.training.selection import Evaluation
from tasks.artifacts.networks import save_network
from tasks.artifacts.splits import load_split, save_split
from tasks.common.files import write_json
from tasks.common.places import CARD
from tasks.datasets.card import class_counts, image_numbers
from tasks.datasets.card_file import DataCard, PartCard
from tasks.forecast import write_forecast
from tasks.trials.curves import write_curve
from tasks.trials.out_of_fold import OUT_OF_FOLD, OutOfFold
from tasks.trials.plan import Entry

SIZE = 8
STEPS = {"scratch": 2, "source_only": 0, "fine_tune": 60}
"""How long each strategy's networks learn; the longest is the best by far."""
LABEL_FREE = ("source_only",)


def make_project(
    folder: Path,
    *,
    steps: dict[str, int] = STEPS,
    seeds: Sequence[int] = (0, 1, 2),
    budgets: Sequence[Labels] = (4,),
    classes: Sequence[str] = ("ant", "bee", "cat"),
    channels: int = 1,
) -> Path:
    """Write params.yaml, build/data, build/pretrained and build/trials into `folder`, in the formats of the stages."""
    names = list(classes)
    (folder / "params.yaml").write_text(
        yaml.safe_dump(
            {
                "seeds": list(seeds),
                "label_budgets": list(budgets),
                "strategies": {name: {} for name in steps if name not in LABEL_FREE},
                "label_free": {name: {} for name in steps if name in LABEL_FREE},
                "forecast": {"images": 10, "permutations": 99, "untrained": 1},
                "evaluate": {"confidence": 0.95, "resamples": 1000, "seed": 0},
            }
        )
    )
    parts = {}
    for seed, (name, n) in enumerate({"source": 60, "pool": 40, "test": 50}.items()):
        split_folder = folder / "build/data" / name
        split_folder.mkdir(parents=True)
        images, labels = blocks(n, len(names), channels, seed)
        if name == "test":
            labels[::10] = (labels[::10] + 1) % len(names)  # mistakes that even the best network makes
        save_split(split_folder, images, labels, names)
        parts[name] = describe(name, images, labels, names)
    write_json(folder / CARD, DataCard.of("0123456789abcdef0123456789abcdef.dir", **parts).to_json())
    pretrained = folder / "build/pretrained"
    pretrained.mkdir()
    torch.manual_seed(0)
    size = Description("convnet_tiny", tuple(names), channels, SIZE)
    save_network(pretrained, Network(size))
    write_json(pretrained / "metrics.json", {"n_train": 54, "n_validation": 6, "accuracy": 0.9, "steps": 60})
    pool = load_split(folder / "build/data/pool")
    for strategy, count in steps.items():
        for labels in (0,) if strategy in LABEL_FREE else budgets:
            for seed in seeds:
                entry = Entry(strategy, labels, seed)
                # Fewer labels: a network that learned for less long.
                most = max(budgets, key=by_size)
                learned = count if labels in (0, most) else count * labels // (11 if most == ALL else most)
                write_trial(folder / "build/trials" / entry.name, pool, entry, learned)
    write_forecast(folder)
    return folder


def write_trial(folder: Path, pool: Split, entry: Entry, steps: int) -> None:
    """A network that learned `steps` steps on the pool, as `finetune` leaves it."""
    folder.mkdir(parents=True)
    torch.set_num_threads(1)  # more of them only wait for one another with so small a network
    torch.manual_seed(entry.seed)
    network = Network(Description("convnet_tiny", pool.classes, pool.images.shape[1], SIZE)).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.001)
    for _ in range(steps):
        optimiser.zero_grad()
        cross_entropy(network(pool.images), pool.labels).backward()
        optimiser.step()
    # As if it had not learned from them.
    paid = draw_labels(pool, entry.labels or 4, entry.seed).paid.sort().values
    said = predict(network, pool.images[paid])[0]
    found = score(said, pool.labels[paid])
    save_network(folder, network)
    OutOfFold(paid.numpy(), pool.labels[paid].numpy(), said.numpy()).save(folder / OUT_OF_FOLD)
    curve = [Evaluation(step, 0.01, 1.0 / step, 1.1 / step, min(1.0, step / 60)) for step in range(2, steps + 1, 2)]
    write_curve(folder / "curve.csv", curve)
    rates = (0.003, 0.01) if entry.strategy == "fine_tune" else (0.003,)
    tried = [{"learning_rate": rate, "objective": 1 - rate} for rate in rates]
    write_json(
        folder / "metrics.json",
        {
            "strategy": entry.strategy,
            "seed": entry.seed,
            "labels_per_class": entry.labels,
            "folds": 5,
            "trained_folds": 2,
            "folds_run": 2 if entry.labels else 0,
            "n_train": len(paid) if entry.labels else 0,
            "n_validation": len(paid),
            "parameters": 100,
            "multiply_adds": 2000,
            "trainable_parameters": 100 if steps else 0,
            "knobs": {},
            "training": asdict(Training(steps=60)),
            "selected_step": steps,
            "keep": "last",
            "validation": {name: getattr(found, name) for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll")},
            "companions": [],
            "choice": "",
            "learning_rate": tried[-1]["learning_rate"],
            "search": tried if entry.strategy == "fine_tune" else [],
        },
    )


def add_companion(trial: Path, name: str, like: Path) -> None:
    """A network that was trained next to a trial to be measured: that of another trial."""
    folder = trial / "companions" / name
    folder.mkdir(parents=True)
    for file in ("model.safetensors", "model.json"):
        shutil.copy(like / file, folder)
    companions = json.loads((trial / "metrics.json").read_text())["companions"]
    edit_trial(trial, companions=[*companions, name])


def answer(trial: Path, right: float) -> None:
    """OutOfFold out of fold of which this share is right, the same images for every trial."""
    labels = np.arange(40) % 3
    said = np.eye(3, dtype=np.float32)[np.where(np.arange(40) < 40 * right, labels, (labels + 1) % 3)]
    OutOfFold(np.arange(40), labels, said).save(trial / OUT_OF_FOLD)


def blocks(n: int, classes: int, channels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images (N, C, 8, 8) uint8, each with a bright row that says its class, and labels (N,)."""
    noise = np.random.RandomState(seed)
    labels = np.arange(n) % classes
    images = noise.randint(0, 80, (n, channels, SIZE, SIZE))
    images[np.arange(n), :, labels * SIZE // classes] += 170
    return images.astype(np.uint8), labels


def describe(name: str, images: np.ndarray, labels: np.ndarray, classes: list[str]) -> PartCard:
    """The entry of a part in the data card."""
    return PartCard(
        n=len(labels),
        classes=class_counts(labels, classes),
        duplicates=0,
        kind="images",
        path=f"data/{name}.npz",
        layout="npz",
        split="given",
        validation="",
        ignored_files=0,
        skipped=(),
        images=image_numbers(images, np.full((len(images), 2), SIZE)),
    )


def edit_trial(folder: Path, **changes: object) -> None:
    """Change entries of a trial's metrics.json."""
    path = folder / "metrics.json"
    write_json(path, {**json.loads(path.read_text()), **changes})
