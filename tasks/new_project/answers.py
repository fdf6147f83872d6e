"""The answers to the questions of `graft init`, and the edits to the project's files that follow from them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tasks.settings.pretrain import reads_texts
from tasks.settings.strategy_files import needs_labels
from tasks.trials.plan import BASELINE

Path_ = tuple[str | int, ...]
Edit = tuple[Path_, Any]
"""A key of a YAML file, and its new value."""

STRATEGIES = ("scratch", "self_training", "lp_ft", "joint_probe", "linear_probe", "fine_tune", "mixed_training")
"""In this order one is chosen where there is one label per class, and nothing to choose by."""
FOR_TEXTS = ("scratch", "tfidf", "linear_probe", "fine_tune", "mixed_training")
"""Where a small network learns texts from the source."""
ON_ENCODERS = ("scratch", "joint_probe", "linear_probe", "self_training", "lp_ft", "tfidf")
"""Where an encoder of texts is given."""
TEXT, TRANSFORMER = "text_", "transformer_"
SMALL = ("convnet_", TEXT, TRANSFORMER)
"""Prefixes of the names of Graft's own small networks; all others, and given weights, are for photos."""


@dataclass(frozen=True)
class Answers:
    """The user's choices for a new project."""

    name: str
    """Name of the registered model and of MLflow's experiment."""
    backbone: str = "convnet_small"
    weights: str = ""
    """Pretrained weights to start from; empty: random weights."""
    image_size: int = 32
    channels: int = 3
    flip: bool = True
    """Whether a mirrored image keeps its class."""
    labels: tuple[int | str, ...] = (1, 5, 10)
    """Label budgets."""
    seeds: tuple[int, ...] = (0, 1, 2)
    strategies: tuple[str, ...] = STRATEGIES
    schedule: str = "0 2 * * *"
    """A cron line; empty: none."""
    settings: tuple[Edit, ...] = field(default=())
    """Further settings of params.yaml."""


def usual_strategies(backbone: str, weights: str) -> tuple[str, ...]:
    """The strategies to compare unless the user names others."""
    if reads_texts(weights):
        return ON_ENCODERS
    return FOR_TEXTS if backbone.startswith(TEXT) and not weights else STRATEGIES


def is_large(backbone: str, weights: str) -> bool:
    """Whether the network is made for photos of a few hundred pixels."""
    if reads_texts(weights):
        return False
    return bool(weights) or not backbone.startswith(SMALL)


def parameter_edits(answers: Answers) -> Iterator[Edit]:
    """The edits to the shipped params.yaml, which is the demo's."""
    yield ("seeds",), list(answers.seeds)
    yield ("label_budgets",), list(answers.labels)
    by_section = _by_section(answers.strategies)
    for section, names in by_section.items():
        yield (section,), {name: {} for name in names}
    yield ("prepare", "image_size"), answers.image_size
    yield ("prepare", "channels"), answers.channels
    yield ("pretrain", "backbone"), answers.backbone
    if answers.weights:
        yield ("pretrain", "weights"), answers.weights
    if reads_texts(answers.weights):
        yield ("pretrain", "learn"), "head"
    yield from _training(answers)
    yield from answers.settings


def _training(answers: Answers) -> Iterator[Edit]:
    """Training settings by kind of network. The augmentation suits any images (the demo's is for digits); texts have
    none. Large networks get a smaller budget, with batches so small that batch norm keeps its statistics, and crops as
    photos are trained with; transformers get a smaller learning rate. Both get two threads for the stages that run
    alone. Encoders of texts are tuned in few and small steps. `reasons` says why in the file.
    """
    if answers.backbone.startswith(TEXT) or reads_texts(answers.weights):
        for section in ("pretrain", "finetune"):
            yield (section, "training", "augmentation"), {}
        if reads_texts(answers.weights):
            yield from _budget("finetune", steps=60, batch_size=16, learning_rate=0.0003)
        return
    is_for_photos = is_large(answers.backbone, answers.weights)
    augmentation: dict[str, Any] = {"crop": max(1, answers.image_size // 16), "scale": 0.1}
    if is_for_photos:
        augmentation = {"area": 0.35}
    if answers.flip:
        augmentation["flip"] = 0.5
    for section in ("pretrain", "finetune"):
        yield (section, "training", "augmentation"), augmentation
    if is_for_photos:
        yield from _budget("pretrain", steps=200, batch_size=16, learning_rate=0.001)
        yield from _budget("finetune", steps=40, batch_size=16, learning_rate=0.001)
    elif answers.backbone.startswith(TRANSFORMER):
        yield from _budget("pretrain", batch_size=64, learning_rate=0.002)
        yield from _budget("finetune", batch_size=16, learning_rate=0.001)
    else:
        return
    yield from (((section, "threads"), 2) for section in ("pretrain", "forecast", "evaluate"))


def reasons(answers: Answers) -> Iterator[tuple[Path_, str]]:
    """Why training settings are as they are: comments in params.yaml. What the user set explains itself."""
    training: Path_ = ("finetune", "training")
    found: dict[Path_, str] = {}
    if answers.backbone.startswith(TEXT):
        found[*training, "augmentation"] = "none: words are not to be changed"
    elif is_large(answers.backbone, answers.weights):
        found = {
            (*training, "steps"): "from good weights, more would overfit few labels",
            (*training, "batch_size"): "below 32, batch norm keeps the statistics of the weights (batch_norm: auto)",
            (*training, "augmentation"): "crops of 35 to 100 % of the area, as photos are trained with",
        }
    elif answers.backbone.startswith(TRANSFORMER):
        found[*training, "learning_rate"] = "attention diverges at the rate of a convnet"
    given = {tuple(path[: len(key)]) for path, _ in answers.settings for key in found}
    yield from ((path, why) for path, why in found.items() if path not in given)


def _budget(section: str, **values: float | str) -> Iterator[Edit]:
    yield from (((section, "training", name), value) for name, value in values.items())


def _by_section(strategies: tuple[str, ...]) -> dict[str, list[str]]:
    asked = dict.fromkeys((BASELINE, *strategies))
    return {
        "strategies": [name for name in asked if needs_labels(name) is not False],
        "label_free": [name for name in asked if needs_labels(name) is False],
    }
