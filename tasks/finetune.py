"""Stage `finetune` (and `adapt`, without labels): one strategy, one label budget, one seed.

Reads build/{chosen,pretrained}, build/data/{source,pool} and sections `finetune`, `tune`, and `strategies.NAME`, or
`label_budgets` and `label_free.NAME`; writes build/trials/NAME-LABELS-SEED. The test split is never read here. As
`finetune_from` it starts from a further source model, build/sources/SOURCE, and writes
build/trials/NAME@SOURCE-LABELS-SEED.
"""

import argparse
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from graft.contract import Strategy
from graft.cross_validation import cross_validation
from graft.data.label_budget import read_labels
from graft.data.sampling import LabelledTarget, all_but, draw_labels, folds
from graft.data.split import Domains, Split
from graft.loop import Fit, Kept, train
from graft.measures.cost import multiply_adds, parameters
from graft.measures.metrics import score
from graft.networks.device import choose_device
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies import look_in, strategy_class
from graft.techniques.carry import carried, require_source
from graft.training.feature_cache import features_of, further_views, with_views
from graft.training.selection import Evaluation
from tasks.artifacts.networks import load_network, save_network
from tasks.artifacts.splits import load_split
from tasks.artifacts.tokens import as_bytes, as_read_by, tokenizer_of
from tasks.common.errors import GraftError
from tasks.common.files import new_folder, write_json
from tasks.common.places import OWN_STRATEGIES, PARAMS, POOL, TRIALS
from tasks.common.yaml_files import load_yaml
from tasks.datasets.text.tokenizer import byte_tokenizer
from tasks.settings.finetune import FinetuneSettings
from tasks.settings.label_budgets import read_label_budgets
from tasks.settings.tune import TuneSettings
from tasks.settings.yaml_sections import parse, read_section
from tasks.source_models.in_use import network_of, pictures_of
from tasks.stage.checkpoints import StageCheckpoints
from tasks.stage.process import batch_parts, run_stage
from tasks.trials.curves import announce, write_curve
from tasks.trials.out_of_fold import OUT_OF_FOLD, OutOfFold
from tasks.trials.plan import FROM, ORACLE, Entry, wrong_section
from tasks.trials.search import main_knob, search


def finetune(entry: Entry) -> None:
    """Adapt the source network to the target as `entry` says, and write the trial with its companions.

    A cross-validation within the paid labels chooses; then the network is trained on all of them.

    Raises:
        GraftError: the strategy or its knobs are not valid, or there are too few labels; says which and why.
    """
    settings, tune = read_section(PARAMS, "finetune", FinetuneSettings), read_section(PARAMS, "tune", TuneSettings)
    torch.set_num_threads(settings.threads)
    try:
        strategy = load_strategy(entry)
        given, pictures = network_of(entry.source), pictures_of(entry.source)
        # A strategy without labels is validated by those of the largest budget.
        budget = entry.labels or read_label_budgets(PARAMS)[-1]
        target = draw_labels(_read(strategy, given, POOL), budget, entry.seed)
        source = _read(strategy, given, pictures) if strategy.uses_source_data else None
        require_source(strategy, len(source or ()))
        trainer = Trainer(given, target, source, settings, entry.seed)
        result, searched = _search(trainer, strategy, settings.training, tune)
        trained = trainer.fit(result)
        companions = dict(_companions(trainer, result))
    except ValueError as error:
        raise GraftError(f"trial {entry.name}: {error}") from None
    except FloatingPointError as error:
        raise GraftError(f"trial {entry.name}: {error}", "See `finetune.training` in params.yaml.") from None
    strategy, network = result.strategy, trained.network
    if trained.fit.oracle is not None:
        companions[ORACLE] = deepcopy(network)
        companions[ORACLE].load_state_dict(trained.fit.oracle)
    metrics = {
        "strategy": entry.strategy,
        "seed": entry.seed,
        "knobs": asdict(strategy),
        "labels_per_class": entry.labels,
        **asdict(settings),
        "n_train": len(target.paid) if strategy.uses_labels else 0,
        "n_validation": len(result.answers.labels),
        "folds_run": result.folds,
        "parameters": parameters(network),
        "multiply_adds": multiply_adds(network),
        "trainable_parameters": trained.trainable,
        "keep": settings.training.keep if strategy.uses_labels else strategy.label_free_selection,
        "selected_step": result.kept.step,
        "choice": result.kept.choice,
        "learning_rate": result.training.learning_rate,
        "search": searched,
        "validation": _scores(result.answers),
        "companions": sorted(companions),
    }
    tokenizer = byte_tokenizer().to_str().encode() if strategy.text_bytes else tokenizer_of(given, POOL)
    with new_folder(TRIALS / entry.name) as folder:
        save_network(folder, network, tokenizer)
        write_curve(folder / "curve.csv", result.curve)
        write_json(folder / "metrics.json", metrics)
        result.answers.save(folder / OUT_OF_FOLD)
        if trained.fit.source_weights is not None:
            np.save(folder / "source_weights.npy", trained.fit.source_weights.float().numpy(), allow_pickle=False)
        for name, other in companions.items():
            (folder / "companions" / name).mkdir(parents=True)
            save_network(folder / "companions" / name, other, tokenizer)


def _read(strategy: Strategy, network: Path, packed: Path) -> Split:
    """A packed split as the strategy's network will read it, or else the one in the folder `network`."""
    split = load_split(packed)
    return as_bytes(split, packed, strategy.text_bytes) if strategy.text_bytes else as_read_by(network, split, packed)


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


@dataclass(frozen=True)
class Adapted:
    """A network, and how its training went."""

    fit: Fit
    network: Network
    trainable: int
    """Number of trained weights."""


@dataclass(frozen=True)
class Chosen:
    """What was chosen within the paid labels."""

    strategy: Strategy
    training: Training
    kept: Kept
    curve: tuple[Evaluation, ...]
    answers: OutOfFold
    """For images whose labels the network that gave them did not learn from."""
    folds: int
    """Folds that were run; 0 for a strategy that needs no labels, and where no class has two images."""
    trained: Adapted | None = None
    """Where one training both chooses and is kept: that of a strategy that needs no labels."""

    @property
    def objective(self) -> float:
        """The value that a search minimises; it uses no labels if the strategy must not see any."""
        if self.trained is None:
            return self.answers.loss
        score = self.trained.fit.selected.label_free
        if score is None:
            raise ValueError(
                "a search without labels needs a `selection` that scores; valid: guarded_snd, snd, entropy, dev"
            )
        return -score


@dataclass(frozen=True)
class _Seen:
    """The images, or their features, that the networks of a trial see."""

    target: LabelledTarget
    source: Split | None
    views: Sequence[Split] = ()
    """Features of further views of the paid images."""

    def without(self, held: Tensor) -> Domains:
        """What a fold sees that holds out these places among the paid images."""
        training, validation, unlabelled = self.target.without(held)
        rest = all_but(len(self.target.paid), held).nonzero().flatten()
        views = [view.take(rest) for view in self.views]
        return Domains(with_views(training, views), validation, self.source, unlabelled)

    def whole(self) -> Domains:
        """What the network sees that is kept."""
        target = with_views(self.target.labelled, list(self.views))
        return Domains(target, None, self.source, self.target.unlabelled)


class Trainer:
    """Trains one network after another on the same images; none influences another.

    Args:
        folder: with the source network, which is read once.
        target: the paid labels, and the pool.
        source: the source's images, if the strategy learns from them.
        settings: of the folds.
        seed: of the new weights, the order and the augmentation.
    """

    def __init__(
        self, folder: Path, target: LabelledTarget, source: Split | None, settings: FinetuneSettings, seed: int
    ) -> None:
        self.seed = seed
        self._target, self._source, self._settings = target, source, settings
        torch.manual_seed(seed)
        self.network = load_network(folder)
        self._drawn = torch.get_rng_state()
        """Where the random numbers stand once the network is built: new weights are drawn as if it were read again."""
        self._checkpoints = StageCheckpoints.of_this_stage(several=True)
        self._encoded: dict[Strategy, _Seen] = {}
        self.folds = folds(target.labelled, settings.folds)
        """Places among the paid images that each fold holds out; none where no class has two."""

    def choose(self, strategy: Strategy, training: Training) -> Chosen:
        """Find out which network of a training is kept, and how good it is: by cross-validation, or for a strategy
        that needs no labels by one training, validated by the paid ones."""
        if not strategy.uses_labels:
            return self._without_labels(strategy, training)
        trains_backbone = strategy.optimises and not strategy.feature_views
        run = self.folds[: self._settings.trained_folds] if trains_backbone else self.folds
        seen, fits = self._seen(strategy, training), []
        for number, held in enumerate(run, start=1):
            print(f"fold {number}/{len(run)}", flush=True)
            fits.append(self._train(strategy, training, seen.without(held)).fit)
        if not fits:
            kept = Kept(training.steps if strategy.optimises else 0)
            return Chosen(strategy, training, kept, (), OutOfFold.none(len(self._target.pool.classes)), folds=0)
        found = cross_validation(fits, run, self._target.labelled.labels, training.keep)
        answers = _answers(self._target.paid[found.held], found.labels, found.probabilities)
        return Chosen(strategy, training, found.kept, found.curve, answers, len(run))

    def fit(self, result: Chosen) -> Adapted:
        """The network that `result` chose, trained on all paid labels."""
        if result.trained:
            return result.trained
        print("all labels", flush=True)
        domains = self._seen(result.strategy, result.training).whole()
        return self._train(result.strategy, result.training, domains, result.kept)

    def _without_labels(self, strategy: Strategy, training: Training) -> Chosen:
        seen = self._seen(strategy, training)
        paid = seen.target.labelled
        domains = Domains(seen.target.unlabelled, paid, seen.source, seen.target.unlabelled)
        trained = self._train(strategy, training, domains)
        answers = _answers(self._target.paid, paid.labels, predict(trained.network, paid.images)[0])
        kept = Kept(trained.fit.selected_step)
        return Chosen(strategy, training, kept, trained.fit.curve, answers, folds=0, trained=trained)

    def _seen(self, strategy: Strategy, training: Training) -> "_Seen":
        """What the strategy's networks see; for a frozen backbone the features, computed once for all folds."""
        if not strategy.feature_views:
            return _Seen(self._target, self._source)
        if strategy not in self._encoded:
            network = self._adapt(strategy)
            target = self._target if strategy.uses_unlabelled else self._target.alone()
            self._encoded[strategy] = _Seen(
                replace(target, pool=features_of(network, target.pool)),
                features_of(network, self._source) if self._source else None,
                further_views(network, target.labelled, strategy.feature_views, training.augmentation, self.seed),
            )
        return self._encoded[strategy]

    def _adapt(self, strategy: Strategy) -> Network:
        torch.manual_seed(self.seed)
        torch.set_rng_state(self._drawn)
        source = carried(deepcopy(self.network), self._target.pool.reads, strategy)
        return strategy.adapt(source, self._target.pool.classes).to(choose_device())

    def _train(self, strategy: Strategy, training: Training, domains: Domains, keep: Kept | None = None) -> Adapted:
        network = self._adapt(strategy)
        learns = strategy.optimises or strategy.uses_labels
        trainable = sum(p.numel() for p in network.parameters() if p.requires_grad and learns)
        fit = train(
            network,
            strategy,
            domains,
            training,
            seed=self.seed,
            on_evaluation=announce,
            checkpoints=self._checkpoints.next_training(),
            parts=batch_parts(),
            keep=keep,
        )
        return Adapted(fit, strategy.finish(network), trainable)


def _answers(places: Tensor, labels: Tensor, probabilities: Tensor) -> OutOfFold:
    return OutOfFold(places.numpy(), labels.cpu().numpy(), probabilities.numpy())


def _scores(answers: OutOfFold) -> dict[str, float | None]:
    """What the answers are worth; None for each score if there are none."""
    names = ("accuracy", "balanced_accuracy", "macro_f1", "nll")
    if not len(answers.labels):
        return dict.fromkeys(names)
    found = score(torch.from_numpy(answers.probabilities), torch.from_numpy(answers.labels))
    return {name: getattr(found, name) for name in names}


def _search(
    trainer: Trainer, strategy: Strategy, training: Training, tune: TuneSettings
) -> tuple[Chosen, list[dict[str, Any]]]:
    """Choose once, or as often as section `tune` says, and keep the best settings."""
    if not (tune.trials and (strategy.optimises or main_knob(type(strategy)))):
        return trainer.choose(strategy, training), []
    if strategy.uses_labels and not trainer.folds:
        print("no search: one label per class leaves nothing to hold out", flush=True)
        return trainer.choose(strategy, training), []

    def attempt(tried: Strategy, how: Training) -> tuple[float, Chosen]:
        result = trainer.choose(tried, how)
        return result.objective, result

    return search(strategy, training, tune, trainer.seed, attempt)


def _companions(trainer: Trainer, result: Chosen) -> Iterator[tuple[str, Network]]:
    """Networks trained with the strategy's companion settings, as long as the strategy's own: measured alongside it,
    never chosen."""
    for name, other in result.strategy.companions(trainer.network).items():
        print(f"companion: {name}", flush=True)
        yield name, trainer.fit(replace(result, strategy=other, kept=Kept(result.kept.step), trained=None)).network


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
