"""Stage `finetune` (and `adapt`, without labels): one strategy, one label budget, one seed.

Reads build/{chosen,pretrained}, build/data/{source,pool} and sections `finetune`, `tune`, and `strategies.NAME`, or
`label_budgets` and `label_free.NAME`; writes build/trials/NAME-LABELS-SEED. The test split is never read here. As
`finetune_from` it starts from a further source model, build/sources/SOURCE, and writes
build/trials/NAME@SOURCE-LABELS-SEED.
"""

import argparse
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from graft.contract import Strategy
from graft.data.label_budget import read_labels
from graft.data.sampling import LabelledTarget, draw_labels
from graft.data.split import Domains, Split
from graft.loop import Fit, train
from graft.measures.cost import multiply_adds, parameters
from graft.measures.metrics import score
from graft.networks.device import choose_device
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies import look_in, strategy_class
from graft.techniques.carry import carried, require_source
from tasks.artifacts.networks import load_network, save_network
from tasks.artifacts.splits import load_split
from tasks.artifacts.tokens import as_read_by, tokenizer_of
from tasks.common.errors import GraftError
from tasks.common.files import new_folder, write_json
from tasks.common.places import OWN_STRATEGIES, PARAMS, POOL, TRIALS
from tasks.common.yaml_files import load_yaml
from tasks.settings.finetune import FinetuneSettings
from tasks.settings.label_budgets import read_label_budgets
from tasks.settings.tune import TuneSettings
from tasks.settings.yaml_sections import parse, read_section
from tasks.source_models.in_use import network_of, pictures_of
from tasks.stage.checkpoints import StageCheckpoints
from tasks.stage.process import batch_parts, run_stage
from tasks.trials.curves import announce, write_curve
from tasks.trials.plan import FROM, ORACLE, Entry, wrong_section
from tasks.trials.search import main_knob, search


def finetune(entry: Entry) -> None:
    """Adapt the source network to the target as `entry` says, and write the trial with its companions.

    Raises:
        GraftError: the strategy or its knobs are not valid, or there are too few labels; says which and why.
    """
    settings, tune = read_section(PARAMS, "finetune", FinetuneSettings), read_section(PARAMS, "tune", TuneSettings)
    torch.set_num_threads(settings.threads)
    try:
        strategy = load_strategy(entry)
        given, pictures = network_of(entry.source), pictures_of(entry.source)
        labelled = _draw(entry, as_read_by(given, load_split(POOL), POOL), settings)
        source = as_read_by(given, load_split(pictures), pictures) if strategy.uses_source_data else None
        require_source(strategy, len(source or ()))
        target = labelled.training if strategy.uses_labels else labelled.unlabelled
        domains = Domains(target, labelled.validation, source, labelled.unlabelled)
        trainer = _Trainer(given, domains, entry.seed, lambda source: bool(tune.trials or strategy.companions(source)))
        result, searched = _search(trainer, strategy, settings.training, tune)
        strategy, fit, network = result.strategy, result.fit, result.network
        companions = dict(_companions(trainer, result, settings.training))
    except ValueError as error:
        raise GraftError(f"trial {entry.name}: {error}") from None
    except FloatingPointError as error:
        raise GraftError(f"trial {entry.name}: {error}", "See `finetune.training` in params.yaml.") from None
    if fit.oracle is not None:
        companions[ORACLE] = deepcopy(network)
        companions[ORACLE].load_state_dict(fit.oracle)
    metrics = {
        "strategy": entry.strategy,
        "seed": entry.seed,
        "knobs": asdict(strategy),
        "labels_per_class": entry.labels,
        **asdict(settings),
        "validation_per_class": mean_per_class(labelled.validation),
        "n_train": len(labelled.training) if strategy.uses_labels else 0,
        "n_validation": len(labelled.validation),
        "parameters": parameters(network),
        "multiply_adds": multiply_adds(network),
        "trainable_parameters": result.trainable,
        "keep": settings.training.keep if strategy.uses_labels else strategy.label_free_selection,
        "selected_step": fit.selected_step,
        "learning_rate": result.learning_rate,
        "search": searched,
        "validation": _validate(network, labelled.validation),
        "companions": {name: _validate(other, labelled.validation) for name, other in companions.items()},
    }
    tokenizer = tokenizer_of(given, POOL)
    with new_folder(TRIALS / entry.name) as folder:
        save_network(folder, network, tokenizer)
        write_curve(folder / "curve.csv", fit.curve)
        write_json(folder / "metrics.json", metrics)
        if fit.source_weights is not None:
            np.save(folder / "source_weights.npy", fit.source_weights.float().numpy(), allow_pickle=False)
        for name, other in companions.items():
            (folder / "companions" / name).mkdir(parents=True)
            save_network(folder / "companions" / name, other, tokenizer)


def load_strategy(entry: Entry) -> Strategy:
    """The strategy of an entry, with the knobs that params.yaml gives it.

    Raises:
        ValueError: the strategy is unknown.
        GraftError: an unknown knob, an invalid value, or a strategy in the wrong section.
    """
    look_in(OWN_STRATEGIES)
    section = "strategies" if entry.labels else "label_free"
    knobs = (load_yaml(PARAMS).get(section) or {}).get(entry.method) or {}
    where = f"{PARAMS}: {section}.{entry.method}"
    strategy = cast(Strategy, parse(knobs, strategy_class(entry.method), where=where))
    if strategy.uses_labels != bool(entry.labels):
        raise GraftError(f"{where}: {wrong_section(needs_labels=strategy.uses_labels)}")
    return strategy


def mean_per_class(split: Split) -> int | float:
    """Images per class: a whole number if all classes have as many, else the mean to one decimal."""
    whole, rest = divmod(len(split), len(split.classes))
    return round(len(split) / len(split.classes), 1) if rest else whole


def _draw(entry: Entry, pool: Split, settings: FinetuneSettings) -> LabelledTarget:
    """Draw the label budget; a strategy without labels gets the validation labels of the largest budget."""
    budget = entry.labels or read_label_budgets(PARAMS)[-1]
    return draw_labels(pool, budget, settings.validation_for(budget), entry.seed)


@dataclass(frozen=True)
class Result:
    """A trained network and how it was made."""

    strategy: Strategy
    learning_rate: float
    fit: Fit
    network: Network
    trainable: int
    """Number of trained weights."""
    validation_loss: float

    @property
    def objective(self) -> float:
        """The value that a search minimises; it uses no labels if the strategy must not see any."""
        if self.strategy.uses_labels:
            return self.validation_loss
        score = self.fit.selected.label_free
        if score is None:
            raise ValueError(
                "a search without labels needs a `selection` that scores; valid: guarded_snd, snd, entropy, dev"
            )
        return -score


class _Trainer:
    """Trains one network after another on the same images; none influences another.

    Args:
        folder: with the source network, which is read once.
        domains: the images.
        seed: of the new weights, the order and the augmentation.
        several: whether there is more than one, given the source network; finished ones are then kept in case the
            stage is killed.
    """

    def __init__(self, folder: Path, domains: Domains, seed: int, several: Callable[[Network], bool]) -> None:
        self.domains, self.seed = domains, seed
        torch.manual_seed(seed)
        self.source = load_network(folder)
        self._drawn = torch.get_rng_state()
        """Where the random numbers stand once the network is built: new weights are drawn as if it were read again."""
        self._checkpoints = StageCheckpoints.of_this_stage(several=several(self.source))

    def __call__(self, strategy: Strategy, training: Training) -> Result:
        torch.manual_seed(self.seed)
        torch.set_rng_state(self._drawn)
        source = carried(deepcopy(self.source), self.domains.validation.reads, strategy)
        network = strategy.adapt(source, self.domains.validation.classes).to(choose_device())
        learns = strategy.optimises or strategy.uses_labels
        trainable = sum(p.numel() for p in network.parameters() if p.requires_grad and learns)
        fit = train(
            network,
            strategy,
            self.domains,
            training,
            seed=self.seed,
            on_evaluation=announce,
            checkpoints=self._checkpoints.next_training(),
            parts=batch_parts(),
        )
        finished = strategy.finish(network)
        loss = _validate(finished, self.domains.validation)["nll"]
        return Result(strategy, training.learning_rate, fit, finished, trainable, loss)


def _search(
    trainer: _Trainer, strategy: Strategy, training: Training, tune: TuneSettings
) -> tuple[Result, list[dict[str, Any]]]:
    """Train once, or as often as section `tune` says, and keep the best network on validation."""
    if not (tune.trials and (strategy.optimises or main_knob(type(strategy)))):
        return trainer(strategy, training), []

    def attempt(tried: Strategy, how: Training) -> tuple[float, Result]:
        result = trainer(tried, how)
        return result.objective, result

    return search(strategy, training, tune, trainer.seed, attempt)


def _validate(network: Network, validation: Split) -> dict[str, Any]:
    scores = score(predict(network, validation.images)[0], validation.labels)
    return {name: getattr(scores, name) for name in ("accuracy", "balanced_accuracy", "macro_f1", "nll")}


def _companions(trainer: _Trainer, result: Result, training: Training) -> Iterator[tuple[str, Network]]:
    """Networks trained with the strategy's companion settings: measured alongside it, never chosen."""
    training = replace(training, learning_rate=result.learning_rate)
    for name, other in result.strategy.companions(trainer.source).items():
        print(f"companion: {name}", flush=True)
        yield name, trainer(other, training).network


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Adapt the source model with one strategy, label budget and seed.")
    parser.add_argument("--strategy", required=True)
    parser.add_argument(
        "--labels", type=read_labels, default=0, help="labels per class, or `all`; 0 for a strategy that needs none"
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--source", default="", help="a further source model; default: the one that `use` names")
    given = parser.parse_args()
    compared_as = f"{given.strategy}{FROM}{given.source}" if given.source else given.strategy
    run_stage(lambda: finetune(Entry(compared_as, given.labels, given.seed)), seed=given.seed)
