"""A tiny project up to its forecast: a source model that learned where the bright row of an image is."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.nn.functional import cross_entropy

from graft.data.label_budget import Labels, by_size
from graft.data.split import Split
from graft.measures.findings import DomainGap, Interval, Verdict
from graft.networks.network import Description, Network
from tasks.artifacts.networks import save_network
from tasks.artifacts.splits import load_split, save_split
from tasks.results.forecast_file import (
    BodyScores,
    BudgetScores,
    CellScores,
    Forecast,
    Lifts,
    ModelForecast,
    SourceScores,
)

GAP = DomainGap(300, 0.8, 0.3, 0.05, 0.01, 9.0, 1.0)

CLASSES = ["ant", "bee", "cat", "dog"]
SIZE = 8


def make_project(folder: Path) -> Path:
    """Write params.yaml, build/data/{source,pool} and build/pretrained into `folder`."""
    params = {"seeds": [0, 1, 2], "label_budgets": [5, 2]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for seed, (name, n, bright) in enumerate((("source", 160, 1.0), ("pool", 120, 0.6))):
        (folder / "build/data" / name).mkdir(parents=True)
        images, labels = rows(n, seed=seed)
        save_split(folder / "build/data" / name, (images * bright).astype(np.uint8), labels, CLASSES)
    write_model(folder / "build/pretrained", load_split(folder / "build/data/source"))
    return folder


def rows(n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 1, 8, 8) uint8 of much noise and a brighter row that says the class, and labels (N,)."""
    noise = np.random.RandomState(seed)
    labels = np.arange(n) % len(CLASSES)
    images = noise.randint(0, 150, (n, 1, SIZE, SIZE))
    images[np.arange(n), :, labels * SIZE // len(CLASSES)] += 100
    return images.astype(np.uint8), labels


def write_model(folder: Path, source: Split, *, steps: int = 60, size: int = SIZE, channels: int = 1) -> None:
    """A network that learned `steps` steps on the source, resized and in colour if asked for."""
    torch.manual_seed(1)
    images = torch.nn.functional.interpolate(source.images.float(), (size, size)).to(torch.uint8)
    images = images.expand(-1, channels, -1, -1)
    network = Network(Description("convnet_tiny", source.classes, channels, size)).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        cross_entropy(network(images), source.labels).backward()
        optimiser.step()
    folder.mkdir(parents=True, exist_ok=True)
    save_network(folder, network)


def change(folder: Path, **sections: object) -> None:
    """Replace sections of params.yaml."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **sections}))


def by_hand(lifts: Mapping[tuple[Labels, int], float], expected: Verdict = "positive", error: float = 0.3) -> Forecast:
    """A forecast with these lifts of the probe by labels and seed; LogME's are the other way round."""
    untrained, lift = BodyScores(logme=0.0, h_score=0.5, probe=0.5), Interval(0.2, 0.1, 0.3)
    cells = tuple(
        CellScores(labels, seed, SourceScores(-lift, 1.0, 0.5 + lift, leep=-1.0, nce=-1.0), untrained)
        for (labels, seed), lift in lifts.items()
    )
    rows = tuple(
        BudgetScores(labels, cells[0].source, untrained, Lifts(lift, lift, lift), expected)
        for labels in sorted({labels for labels, _ in lifts}, key=by_size)
    )
    gap = replace(GAP, domain_error=error, proxy_a_distance=2 * (1 - 2 * error))
    model = ModelForecast("convnet_tiny", 4, (1, 8, 8), "0" * 64, cells, rows)
    return Forecast(gap=gap, models={"pretrained": model}, ranked_by="logme", ranking=("pretrained",))


def with_models(forecast: Forecast, *ranking: str) -> Forecast:
    """The same for several models that are all like the one."""
    return replace(forecast, models=dict.fromkeys(ranking, forecast.models["pretrained"]), ranking=ranking)
