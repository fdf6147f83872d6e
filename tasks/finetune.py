"""Stage `finetune`: one strategy, one seed, one label budget.

Reads build/pretrained, build/data/{source,pool} and sections `finetune` and `strategies.NAME`; writes
build/trials/NAME-SEED. The test split is never read here.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch

from graft.device import choose_device
from graft.loop import Fit, train
from graft.metrics import score
from graft.network import Network, predict
from graft.sampling import LabelledTarget, draw_labels
from graft.strategies import strategy_class
from graft.strategies.base import Strategy
from tasks.artifacts import load_network, load_split, save_network
from tasks.curves import announce, write_curve
from tasks.errors import GraftError
from tasks.files import new_folder, write_json
from tasks.parameters import load_yaml, parse, read_section
from tasks.settings.finetune import FinetuneSettings
from tasks.stage import run_stage

PARAMS = Path("params.yaml")
DATA = Path("build/data")
PRETRAINED = Path("build/pretrained")
TRIALS = Path("build/trials")


def finetune(name: str, seed: int) -> None:
    """Adapt the pretrained network to the target with the strategy of that name, and write the trial.

    Raises:
        GraftError: the strategy, its knobs, or the label budget cannot be had; says which and why.
    """
    settings = read_section(PARAMS, "finetune", FinetuneSettings)
    torch.set_num_threads(settings.threads)
    try:
        strategy = load_strategy(name)
        labelled = draw_labels(
            load_split(DATA / "pool"), settings.labels_per_class, settings.validation_per_class, seed
        )
        network = strategy.adapt(load_network(PRETRAINED), labelled.training.classes).to(choose_device())
        trainable = sum(p.numel() for p in network.parameters() if p.requires_grad and strategy.optimises)
        fit = _fit(network, strategy, labelled, settings, seed)
        network = strategy.finish(network)
    except ValueError as error:
        raise GraftError(f"trial {name}-{seed}: {error}") from None
    except FloatingPointError as error:
        raise GraftError(f"trial {name}-{seed}: {error}", "See `finetune.training` in params.yaml.") from None
    probabilities, _ = predict(network, labelled.validation.images)
    scores = score(probabilities, labelled.validation.labels)
    with new_folder(TRIALS / f"{name}-{seed}") as folder:
        save_network(folder, network)
        write_curve(folder / "curve.csv", fit.curve)
        metrics = {
            "strategy": name,
            "seed": seed,
            "knobs": asdict(strategy),
            **asdict(settings),
            "n_train": len(labelled.training) if strategy.optimises else 0,
            "n_validation": len(labelled.validation),
            "parameters": sum(p.numel() for p in network.parameters()),
            "trainable_parameters": trainable,
            "keep": settings.training.keep,
            "selected_step": fit.selected_step,
            "validation": {"accuracy": scores.accuracy, "macro_f1": scores.macro_f1, "nll": scores.nll},
        }
        write_json(folder / "metrics.json", metrics)


def load_strategy(name: str) -> Strategy:
    """The strategy of that name with the knobs that params.yaml gives it.

    Raises:
        ValueError: there is no such strategy.
        GraftError: an unknown knob or a bad value.
    """
    knobs = (load_yaml(PARAMS).get("strategies") or {}).get(name) or {}
    return cast(Strategy, parse(knobs, strategy_class(name), where=f"{PARAMS}: strategies.{name}"))


def _fit(network: Network, strategy: Strategy, labelled: LabelledTarget, settings: FinetuneSettings, seed: int) -> Fit:
    if not strategy.optimises:
        return Fit(curve=(), selected_step=0)
    source = load_split(DATA / "source") if strategy.uses_source_data else None
    return train(
        network,
        strategy,
        labelled.training,
        labelled.validation,
        settings.training,
        source=source,
        seed=seed,
        on_evaluation=announce,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Adapt the pretrained network with one strategy and one seed.")
    parser.add_argument("--strategy", required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    run_stage(lambda: finetune(given.strategy, given.seed), seed=given.seed)
