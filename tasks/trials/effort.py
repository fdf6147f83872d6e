"""What a new project will cost, before it starts: counted from params.yaml, and timed on this machine."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from graft.contract import Strategy
from graft.networks.foreign_bodies import TIMM, TORCHVISION
from graft.networks.network import Description, Network
from graft.settings import Training
from graft.strategies import strategy_class
from tasks.common.places import PARAMS
from tasks.common.yaml_files import load_yaml
from tasks.settings.finetune import FinetuneSettings
from tasks.settings.prepare import PrepareSettings
from tasks.settings.pretrain import NONE, PretrainSettings
from tasks.settings.tune import TuneSettings
from tasks.settings.yaml_sections import read_section
from tasks.trials.plan import read_plan

_VOCABULARY = 8000
"""Tokens, for the time that a network for texts takes; they hardly matter to it."""


@dataclass(frozen=True)
class Effort:
    """Trials and trainings of a backbone; heads on frozen features cost little next to these."""

    trials: int
    trainings: int
    images: int
    """That pass through the backbone forward and backward, in all of them and in pretraining."""
    seconds: float | None
    """CPU seconds of these passes, on this machine; None where the network is known only once weights are loaded."""


def effort(project: Path) -> Effort:
    """What the stages of a new project will do at most: its searches are not pruned, nothing comes from the cache."""
    params = project / PARAMS
    settings = read_section(params, "finetune", FinetuneSettings)
    tune = read_section(params, "tune", TuneSettings)
    pretrain = read_section(params, "pretrain", PretrainSettings)
    entries, content = read_plan(params).entries(), load_yaml(params)
    trainings = images = 0
    for entry in entries:
        knobs = (content["strategies" if entry.labels else "label_free"][entry.method]) or {}
        strategy: Strategy = strategy_class(entry.method)(**knobs)
        if not strategy.optimises or strategy.feature_views:
            continue
        folds = min(settings.trained_folds, settings.folds) if strategy.uses_labels else 0
        count = folds * max(1, tune.trials) + 1 if folds else max(1, tune.trials)
        trainings += count
        images += count * _images(strategy, settings.training)
    if pretrain.learn == "all" or pretrain.weights == NONE:
        images += pretrain.training.steps * pretrain.training.batch_size
    size = settings.training.batch_size
    each = _seconds_each(pretrain, read_section(params, "prepare", PrepareSettings), size)
    return Effort(len(entries), trainings, images, None if each is None else images * each)


def _images(strategy: Strategy, training: Training) -> int:
    """Images that pass in one training: those of each domain that a step sees."""
    domains = 1 + (strategy.uses_source_data and strategy.steps_see_source) + strategy.uses_unlabelled
    return training.steps * training.batch_size * domains


def _seconds_each(pretrain: PretrainSettings, prepare: PrepareSettings, batch: int) -> float | None:
    """CPU seconds of one image's pass forward and backward, measured."""
    name = _architecture(pretrain)
    if name is None:
        return None
    if name.startswith("text_"):
        description = Description(name, ("a", "b"), vocabulary=_VOCABULARY, length=prepare.text_length)
    else:
        description = Description(name, ("a", "b"), prepare.channels, prepare.image_size)
    try:
        network = Network(description).train()
    except ValueError:  # such a backbone is not there; the stage that needs it says so
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _pass(network, batch)
        start = time.process_time()
        _pass(network, batch)
        return (time.process_time() - start) / batch
    finally:
        torch.set_num_threads(before)


def _pass(network: Network, batch: int) -> None:
    network(network.example(batch)).sum().backward()


def _architecture(pretrain: PretrainSettings) -> str | None:
    """The name of the backbone, if it is known before any weights are."""
    if pretrain.weights == NONE:
        return pretrain.backbone
    if pretrain.weights.startswith(TIMM):
        return pretrain.weights
    if pretrain.weights.startswith(TORCHVISION):
        kind = pretrain.weights.removeprefix(TORCHVISION).partition("_Weights")[0]
        return f"{TORCHVISION}{kind.lower()}"
    return None
