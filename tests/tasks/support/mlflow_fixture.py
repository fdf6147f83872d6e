"""A tiny finished project: every file that the stages leave, made in a second instead of trained in a minute.

Three classes of 12x12 grey images that differ in brightness, packed as 8x8; two strategies, two seeds. `scratch` is
an untrained network, `fine_tune` one that has learned the task.
"""

import atexit
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image

from graft.networks.network import Description, Network, predict
from tasks.artifacts.networks import load_network, save_network
from tasks.artifacts.splits import save_split
from tasks.common.places import CARD, FORECAST, METRICS
from tasks.common.typed_json import typed
from tasks.datasets.card_file import DataCard, ImageNumbers, PartCard
from tasks.datasets.pictures import fit
from tasks.executor.processes.runner import Command, shared_runner
from tasks.results.metrics_file import (
    ChosenTrial,
    EvaluatedOn,
    LeadMetric,
    PaidLabels,
    RankRange,
    SeedScore,
    Summary,
    read_summary,
)
from tasks.settings.mlflow import read_mlflow_settings
from tasks.tracking.client import find_experiment, open_client
from tasks.tracking.run_content import KEY, RUNS
from tasks.tracking.run_result import read_run_result
from tasks.tracking.run_store import PARENT, is_complete
from tasks.trials.plan import Entry
from tests.tasks.support.forecast_fixture import by_hand, with_models
from tests.tasks.support.results_fixture import row, summary

CLASSES = ["dark", "grey", "light"]
STRATEGIES = ("scratch", "fine_tune")
SEEDS = (0, 1)
REPOSITORY = Path(__file__).parents[3]
MLFLOW = {"ui": {"port": 5000}, "registry": {"promotion": {"seeds": 2}}}
"""Two seeds will do here: a third would only cost time."""


def make_project(root: Path, *, test_seed: int = 0) -> Path:
    """Write a finished project into `root`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "mlflow.yaml").write_text(yaml.safe_dump(MLFLOW))
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "params.yaml").write_text("prepare: {image_size: 8}\n")
    for split, seed in (("source", 10), ("pool", 11), ("test", test_seed)):
        write_split(root, split, seed)
    write_json(root / CARD, card().to_json())
    write_network(root / "build/pretrained", network(seed=0), {"n_train": 40, "n_validation": 20, "accuracy": 0.9})
    write_json(root / FORECAST, with_models(by_hand({(10, 0): 0.1}), "pretrained").to_json())
    for strategy in STRATEGIES:
        for seed in SEEDS:
            trained = network(seed=seed, steps=0 if strategy == "scratch" else 60)
            write_network(root / f"build/trials/{strategy}-10-{seed}", trained, trial_metrics(strategy, seed))
    write_lock(root)
    evaluate(root)
    return root


def raw_pictures(seed: int, count: int = 45) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 12, 12) uint8 and labels (N,): brighter with each class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    noise = random.integers(-30, 30, (count, 12, 12))
    return (labels[:, None, None] * 80 + 45 + noise).astype(np.uint8), labels


def pack(images: np.ndarray) -> np.ndarray:
    """(N, 12, 12) -> (N, 1, 8, 8), as the stage `prepare` does it."""
    return np.stack([fit(Image.fromarray(image), 8) for image in images])


def write_split(root: Path, name: str, seed: int) -> None:
    """A packed split, and the raw images that it comes from."""
    images, labels = raw_pictures(seed)
    raw = root / {"source": "data/source/train", "pool": "data/target/train", "test": "data/target/test"}[name]
    raw.parent.mkdir(parents=True, exist_ok=True)
    np.savez(raw, images=images, labels=labels, class_names=np.array(CLASSES))
    folder = root / "build/data" / name
    folder.mkdir(parents=True, exist_ok=True)
    save_split(folder, pack(images), labels, CLASSES)


def network(seed: int, steps: int = 0) -> Network:
    """A tiny network, trained for some steps on the pool."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = Network(Description("convnet_tiny", tuple(CLASSES), channels=1, image_size=8))
    raw, labels = raw_pictures(seed=11)
    images, targets = torch.from_numpy(pack(raw)), torch.from_numpy(labels)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(images), targets).backward()
        optimiser.step()
    return net.eval()


def write_network(folder: Path, net: Network, metrics: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_network(folder, net)
    write_json(folder / "metrics.json", metrics)
    rows = [f"{step},0.003,{1 / step:.4f},{1.1 / step:.4f},0.{step}," for step in (10, 20, 30)]
    (folder / "curve.csv").write_text(
        "\n".join(["step,learning_rate,train_loss,val_loss,val_accuracy,label_free", *rows, ""])
    )


def trial_metrics(strategy: str, seed: int) -> dict[str, Any]:
    training = {"steps": 60, "batch_size": 16, "learning_rate": 0.01, "augmentation": {"flip": 0.0}}
    return {
        "strategy": strategy,
        "seed": seed,
        "labels_per_class": 10,
        "n_train": 30,
        "n_validation": 15,
        "folds": 5,
        "trained_folds": 2,
        "folds_run": 2,
        "parameters": 5000,
        "trainable_parameters": 4900,
        "knobs": {"backbone_rate": 0.1},
        "training": training,
        "selected_step": 30,
        "keep": "best_validation",
        "validation": {"accuracy": 0.9, "macro_f1": 0.9, "nll": 0.3},
        "companions": [],
        "choice": "",
        "learning_rate": 0.02,
        "search": [
            {"learning_rate": 0.01, "backbone_rate": 1.0, "objective": 0.4},
            {"learning_rate": 0.02, "backbone_rate": 0.1, "objective": 0.3},
        ],
    }


def card() -> DataCard:
    counts = dict.fromkeys(CLASSES, 15)
    images = ImageNumbers((12, 12), (12, 12), (12, 12), channels=1, mean=(0.5,), std=(0.2,))
    part = PartCard(45, counts, 0, "images", "data/x.npz", "npz", "given", "", 0, (), images)
    return DataCard.of("0" * 31 + "1.dir", part, part, part)


def write_lock(root: Path, **changes: str) -> None:
    """A dvc.lock by hand; `changes` gives a stage another input, as an edit would."""
    splits = {
        name: hashlib.md5((root / "build/data" / name / "images.npy").read_bytes()).hexdigest()
        for name in ("pool", "test")
    }
    pool, test = (
        [{"path": f"build/data/{name}", "hash": "md5", "md5": f"{digest}.dir"}] for name, digest in splits.items()
    )
    stages: dict[str, Any] = {name: {"cmd": f"python -m tasks.{name}"} for name in ("prepare", "pretrain")}
    stages["prepare"]["outs"] = pool + test
    for strategy in STRATEGIES:
        for seed in SEEDS:
            entry = Entry(strategy, 10, seed)
            stages[entry.stage] = {"cmd": entry.command}
    stages["evaluate"] = {"cmd": "python -m tasks.evaluate", "deps": test}
    for name, value in changes.items():
        for stage in stages:
            if name in (stage, stage.partition("@")[0]):
                stages[stage]["params"] = {"params.yaml": {name: value}}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def evaluate(root: Path, verdict: str = "positive", candidate: str = "fine_tune-10-1") -> None:
    """Write build/evaluation and reports/ with what the networks really predict; the verdict is as given."""
    images = torch.from_numpy(np.load(root / "build/data/test/images.npy"))
    labels = np.load(root / "build/data/test/labels.npy")
    names = [f"{strategy}-10-{seed}" for strategy in STRATEGIES for seed in SEEDS]
    found = np.stack([predict(load_network(root / "build/trials" / name), images)[0].numpy() for name in names])
    (root / "build/evaluation").mkdir(parents=True, exist_ok=True)
    np.savez(root / "build/evaluation/predictions.npz", labels=labels, trials=np.array(names), probabilities=found)
    accuracies = (found.argmax(axis=2) == labels).mean(axis=1).round(4)
    by_strategy = dict(zip(STRATEGIES, accuracies.reshape(len(STRATEGIES), len(SEEDS)).tolist(), strict=True))
    write_json(root / METRICS, report(by_strategy, verdict, candidate).to_json())
    (root / "reports/index.html").write_text("<!doctype html><title>report</title><h1>Report</h1>")


def report(accuracies: dict[str, list[float]], verdict: str, candidate: str) -> Summary:
    strategy, _, seed = candidate.split("-")
    verdicts = dict.fromkeys(STRATEGIES, verdict) | {"scratch": "baseline"}
    strategies = {
        name: row(
            0.9,
            verdicts[name],
            gain=(0.1, 0.02, 0.2),
            rank=RankRange(1, 2),
            **{metric: _spread(accuracies[name]) for metric in ("accuracy", "balanced_accuracy", "macro_f1")},
            **{metric: _spread([0.2] * len(SEEDS)) for metric in ("nll", "calibration_error")},
            per_class_recall=dict.fromkeys(CLASSES, 0.5),
        )
        for name in STRATEGIES
    }
    return summary(
        strategies,
        metric=LeadMetric("accuracy", "auto", 15, 15),
        candidate=ChosenTrial(candidate, strategy, 10, int(seed), "accuracy out of fold", 0.9),
        test=EvaluatedOn(45, "images", tuple(CLASSES)),
        budget=PaidLabels(10, 30, 5, SEEDS),
    )


def change_report(root: Path, **values: Any) -> None:
    """Set entries of reports/metrics.json: `strategies__fine_tune__verdict="negative"`."""
    content = asdict(read_summary(root))
    for dotted, value in values.items():
        *parents, last = dotted.split("__")
        place = content
        for part in parents:
            place = place[part]
        place[last] = value
    write_json(root / METRICS, typed(content, Summary).to_json())


@cache
def template() -> Path:
    """A finished project with an empty MLflow database: to make the tables takes a second, to copy them nothing."""
    folder = tempfile.mkdtemp(prefix="graft-mlflow-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    root = make_project(Path(folder) / "project")
    open_client(root, read_mlflow_settings(root))
    return root


def new_project(root: Path) -> Path:
    """A copy of `template` in `root`."""
    return Path(shutil.copytree(template(), root, ignore=shutil.ignore_patterns("*.lock.part")))


def client_of(root: Path) -> MlflowClient:
    """A client of the project's database."""
    return open_client(root, read_mlflow_settings(root))


def runs_of(root: Path) -> list[Run]:
    """All runs of the project that are not deleted, unfinished ones too."""
    client = client_of(root)
    return list(client.search_runs([find_experiment(client, read_mlflow_settings(root))]))


def publish_at_once(root: Path, count: int) -> list[str]:
    """What `python -m tasks.publish` prints when so many of them run at the same time, as the flow runs it."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = Command("python -m tasks.publish", ("python", "-m", "tasks.publish"), root, environment)
    printed: list[list[str]] = [[] for _ in range(count)]
    running = [shared_runner().start(command, lines.append) for lines in printed]
    codes = [process.wait() for process in running]
    texts = ["\n".join(lines) for lines in printed]
    assert codes == [0] * count, texts
    return texts


def publish_in_new_process(root: Path, **environment: str) -> str:
    """What `python -m tasks.publish` prints."""
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    command = [sys.executable, "-m", "tasks.publish"]
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _spread(values: list[float]) -> SeedScore:
    return SeedScore(sum(values) / len(values), min(values), max(values), tuple(values))


def assert_mirrored(root: Path) -> None:
    """Every stage key of the result has one finished run, and nothing else is there."""
    result = read_run_result(root)
    keys = [result.key, *(source.key for source in result.sources), *(trial.key for trial in result.trials)]
    runs = runs_of(root)
    assert Counter(run.data.tags[KEY] for run in runs) == Counter(keys)
    assert all(is_complete(run) for run in runs)
    (flow,) = [run for run in runs if run.data.tags["kind"] == "flow"]
    assert {run.data.tags[PARENT] for run in runs if run is not flow} == {flow.info.run_id}
    assert set(flow.data.tags[RUNS].split()) == {run.info.run_id for run in runs if run is not flow}
