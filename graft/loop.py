"""The single training loop: every strategy, and pretraining, uses it.

Legend: B batch, C channels, H W height and width, K classes.
"""

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.contract import Batch, Step, Strategy
from graft.data.augment import augment
from graft.data.mix import mix
from graft.data.on_disk import OnDisk
from graft.data.sampling import Batches
from graft.data.split import Domains, Split
from graft.networks.batch_norm import batch_norms
from graft.networks.network import Network, as_read, channels_last, predict
from graft.settings import Training
from graft.training.checkpoint import NEVER, Checkpoints, random_states, set_random_states
from graft.training.feature_cache import cache_features, holds_features
from graft.training.keeper import Keeper
from graft.training.selection import Evaluation

_SMALL_BATCH = 32
"""Batches of fewer images say too little of the statistics of batch norm (`Training.batch_norm`)."""
AS_IT_IS = ""
"""The name of the trained network among a strategy's `choices`."""


@dataclass(frozen=True)
class Kept:
    """Which network of a training run is kept."""

    step: int
    """0 for a strategy that does not optimise."""
    choice: str = AS_IT_IS
    """One of the strategy's `choices`."""


@dataclass(frozen=True)
class Fit:
    """The result of a training run; the network holds the weights of `selected_step`."""

    curve: tuple[Evaluation, ...] = ()
    """Empty for a strategy that does not optimise."""
    selected_step: int = 0
    """0 for a strategy that does not optimise."""
    source_weights: Tensor | None = None
    """(N,) on the CPU: sampling weights of the source images; None if uniform."""
    oracle: dict[str, Tensor] | None = None
    """For a strategy without labels: the weights that the labels of the validation data would have selected."""
    answers: Mapping[Kept, Tensor] = field(default_factory=dict)
    """Probabilities (N, K) of the validation images by each network that could be kept."""

    @property
    def selected(self) -> Evaluation:
        """The evaluation whose weights were kept."""
        return next(point for point in self.curve if point.step == self.selected_step)


def train(
    network: Network,
    strategy: Strategy,
    domains: Domains,
    training: Training,
    *,
    seed: int = 0,
    on_evaluation: Callable[[Evaluation], None] = lambda _: None,
    checkpoints: Checkpoints = NEVER,
    parts: int = 1,
    keep: Kept | None = None,
) -> Fit:
    """Train `network` in place, on its device, with `strategy` and within the budget `training`.

    Args:
        domains: the data that the run may see; moved to the network's device. Only strategies that declare it see
            `source` and `unlabelled` images; a strategy without labels sees no target labels.
        seed: of the order and the augmentation of the images.
        on_evaluation: called with each point of the learning curve.
        checkpoints: an interrupted run resumes from the last of them and ends with the same weights bit for bit: the
            work before the first step is repeated, then the state is restored.
        parts: number of micro-batches per batch, whose gradients are accumulated, where memory is short. The mean over
            the batch does not change; quantities of the whole batch (the statistics of batch normalisation, an
            alignment of domains) are computed per part.
        keep: train up to this step and keep this network, without an evaluation: for a run on all labels, after others
            have chosen. By default the run evaluates, and `Training.keep` chooses.

    Raises:
        ValueError: the strategy needs images that `domains` does not have, or nothing says which network is kept.
        FloatingPointError: the loss is no longer finite.
    """
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)
    seen = _visible(domains.to(device), strategy)
    if keep is None and seen.validation is None:
        raise ValueError("without validation images, `keep` has to say which network is kept")
    if strategy.feature_views and not holds_features(seen.target):
        seen = cache_features(network, seen, strategy.feature_views, training.augmentation, seed)
    # No strategy sees the labels that choose between strategies.
    offered = replace(seen, validation=seen.validation.without_labels() if seen.validation else None)
    strategy.begin(network, offered)
    if not strategy.optimises:
        if keep:
            _put_in_place(network, strategy, keep)
            return Fit()
        assert seen.validation is not None
        answers = {Kept(0): predict(network, seen.validation.images)[0]}
        return Fit(answers=answers | _choices(network, strategy, seen.validation, 0))
    weights = strategy.source_weights(network, offered)
    drawn = seen if strategy.steps_see_source else replace(seen, source=None)
    run = _Run(network, strategy, training, _streams(drawn, weights, training, seed))
    autocast = _autocasts(training, device)
    due = {round(training.steps * (i + 1) / training.evaluations) for i in range(training.evaluations)}
    frozen = _frozen(network, strategy, training)
    if (saved := checkpoints.load()) is not None:
        run.restore(saved)

    last = keep.step if keep else training.steps
    while run.step < last:
        run.step += 1
        strategy.train_mode(network)
        for layer in frozen:
            layer.eval()
        rate = run.descend(run.gradients(run.next_batches().in_parts(parts), autocast))
        if seen.validation and not keep and run.step in due:
            point = run.evaluate(seen.validation, rate, strategy.label_free_score(network, offered))
            on_evaluation(point)
        if checkpoints.due(run.step, last):
            checkpoints.save(run.state())
    if keep:
        _put_in_place(network, strategy, keep)
        return Fit(selected_step=keep.step, source_weights=None if weights is None else weights.cpu())
    assert seen.validation is not None
    answers = run.answers | _choices(network, strategy, seen.validation, training.steps)
    network.load_state_dict(run.kept.state, strict=False)
    return Fit(
        tuple(run.curve),
        run.kept.best.step,
        None if weights is None else weights.cpu(),
        run.oracle.found_state(),
        answers,
    )


def _frozen(network: Network, strategy: Strategy, training: Training) -> list[nn.Module]:
    """The layers of batch norm that keep the statistics that they came with."""
    is_safe = training.batch_size >= _SMALL_BATCH or strategy.moves_batch_norm
    if training.batch_norm == "train" or (training.batch_norm == "auto" and is_safe):
        return []
    # Those of a new network are still zero everywhere.
    return [layer for layer in batch_norms(network.backbone) if cast(Tensor, layer.running_mean).count_nonzero()]


def _put_in_place(network: Network, strategy: Strategy, keep: Kept) -> None:
    """Make the network the version that is kept."""
    if keep.choice != AS_IT_IS:
        strategy.choices(network)[keep.choice]()


def _choices(network: Network, strategy: Strategy, validation: Split, step: int) -> dict[Kept, Tensor]:
    """The answers of the further versions of the trained network."""
    trained, found = deepcopy(network.own_state()), {}
    for name, put_in_place in strategy.choices(network).items():
        put_in_place()
        found[Kept(step, name)] = predict(network, validation.images)[0]
        network.load_state_dict(trained, strict=False)
    return found


class _Run:
    """The state of a training run that changes from step to step."""

    def __init__(self, network: Network, strategy: Strategy, training: Training, streams: "dict[str, _Stream]") -> None:
        self._network, self._strategy, self._training, self._streams = network, strategy, training, streams
        self._optimiser, self._schedule = _optimiser(strategy, network, training)
        self._parameters = [p for group in self._optimiser.param_groups for p in group["params"]]
        self.step = 0
        self.curve: list[Evaluation] = []
        self.answers: dict[Kept, Tensor] = {}
        self.kept, self.oracle = Keeper(_rule(strategy, training)), Keeper("oracle")
        self._total, self._since = torch.zeros((), device=self._parameters[0].device), 0

    def next_batches(self) -> Step:
        """The batches of the next step."""
        progress = (self.step - 1) / max(1, self._training.steps - 1)
        found = {name: next(stream) for name, stream in self._streams.items()}
        return Step(found["target"], progress, found.get("source"), found.get("unlabelled"))

    def gradients(self, parts: list[tuple[float, Step]], autocast: bool) -> Tensor:
        """Compute the gradients of a step, part by part; returns its loss."""
        self._optimiser.zero_grad(set_to_none=True)
        total = torch.zeros_like(self._total)
        for share, step in parts:
            with torch.autocast(self._total.device.type, torch.bfloat16, enabled=autocast):
                loss = share * self._strategy.loss(self._network, step)
            loss.backward()
            total = total + loss.detach()
        return total

    def descend(self, loss: Tensor) -> float:
        """Take one optimiser step along the gradients of `loss`; returns its learning rate."""
        if self._training.clip_norm:
            nn.utils.clip_grad_norm_(self._parameters, self._training.clip_norm)
        self._optimiser.step()
        rate = float(self._schedule.get_last_lr()[0])
        self._schedule.step()
        self._total, self._since = self._total + loss, self._since + 1
        return rate

    def evaluate(self, validation: Split, rate: float, score: float | None) -> Evaluation:
        """Add a point to the curve, and keep the weights if they are the best.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        probabilities, labels = predict(self._network, validation.images)[0], validation.labels.cpu()
        train_loss = float(self._total) / self._since
        val_loss = F.nll_loss(probabilities.clamp_min(1e-12).log(), labels).item()
        if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
            raise FloatingPointError(
                f"the loss is {train_loss} at step {self.step}: lower the learning rate or clip harder"
            )
        accuracy = (probabilities.argmax(dim=1) == labels).double().mean().item()
        point = Evaluation(self.step, rate, train_loss, val_loss, accuracy, score)
        self._total, self._since = torch.zeros_like(self._total), 0
        self.curve.append(point)
        self.answers[Kept(self.step)] = probabilities
        self.kept.offer(point, self._network)
        if not self._strategy.uses_labels:
            self.oracle.offer(point, self._network)
        return point

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, as plain values and tensors."""
        return {
            "step": self.step,
            "network": self._network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "streams": {name: stream.state() for name, stream in self._streams.items()},
            "random": random_states(),
            "curve": [asdict(point) for point in self.curve],
            "answers": list(self.answers.values()),
            "kept": self.kept.to_dict(),
            "oracle": self.oracle.to_dict(),
            "loss": (self._total, self._since),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.step = state["step"]
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        for name, stream in self._streams.items():
            stream.set_state(state["streams"][name])
        self.curve = [Evaluation(**point) for point in state["curve"]]
        self.answers = {Kept(point.step): found for point, found in zip(self.curve, state["answers"], strict=True)}
        self.kept.restore(state["kept"])
        self.oracle.restore(state["oracle"])
        total, self._since = state["loss"]
        self._total = total.to(self._total.device)
        set_random_states(state["random"])


def _visible(domains: Domains, strategy: Strategy) -> Domains:
    """The domains that the strategy may see; refuses if one that it needs is missing."""
    missing = [
        name
        for name, wanted in (
            ("source", strategy.uses_source_data and not strategy.source_is_optional),
            ("unlabelled", strategy.uses_unlabelled),
        )
        if wanted and getattr(domains, name) is None
    ]
    if missing:
        raise ValueError(f"{strategy.name} needs {' and '.join(missing)} images, and there are none")
    return Domains(
        domains.target if strategy.uses_labels else domains.target.without_labels(),
        domains.validation,
        domains.source if strategy.uses_source_data else None,
        domains.unlabelled.without_labels() if domains.unlabelled and strategy.uses_unlabelled else None,
    )


def _streams(domains: Domains, weights: Tensor | None, training: Training, seed: int) -> "dict[str, _Stream]":
    """The batches of each domain; their order and variations depend on the seed alone."""
    found = {"target": _stream(domains.target, training, seed, is_target=True)}
    if domains.source:
        found["source"] = _stream(domains.source, training, seed + 1, weights)
    if domains.unlabelled:
        found["unlabelled"] = _stream(domains.unlabelled, training, seed + 2)
    return found


def _stream(
    split: Split, training: Training, seed: int, weights: Tensor | None = None, *, is_target: bool = False
) -> "_Stream":
    kind = _ReadAhead if isinstance(split.images, OnDisk) else _Stream
    return kind(split, training, seed, weights, is_target=is_target)


class _Stream:
    """Endless augmented batches; cached features are used as they are."""

    def __init__(
        self, split: Split, training: Training, seed: int, weights: Tensor | None = None, *, is_target: bool = False
    ) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._images, self._labels, self._training = split.images, split.labels, training
        self._is_labelled_target = is_target and bool((split.labels >= 0).all())
        self._balance = (
            class_weights(split) if self._is_labelled_target and training.class_weights == "balanced" else None
        )
        if isinstance(self._images, Tensor):
            self._images = channels_last(self._images)
        drawn = None if weights is None else weights.cpu()
        self._order = Batches(len(split), training.batch_size, self._generator, drawn)

    def __next__(self) -> Batch:
        chosen, images = self._next_pictures()
        chosen, how = chosen.to(self._labels.device), self._training.augmentation
        if images.is_floating_point():  # cached features
            return self._batch(images, chosen)
        images = augment(as_read(images), how, self._generator)
        found = mix(images, how, self._generator) if self._is_labelled_target else None
        if found is None:
            return self._batch(images, chosen)
        mixed, order, share = found
        others = self._batch(mixed, chosen[order.to(chosen.device)])
        return replace(self._batch(mixed, chosen), mixed_with=others, mixed_share=share)

    def _batch(self, images: Tensor, chosen: Tensor) -> Batch:
        """The images with the labels and weights of those chosen, (B,) places."""
        counts = None if self._balance is None else self._balance[chosen]
        return Batch(images, self._labels[chosen], self._training.label_smoothing, counts)

    def _next_pictures(self) -> tuple[Tensor, Tensor]:
        """Indices of the next images, and the images as they are stored."""
        chosen = next(self._order).to(self._images.device)
        return chosen, self._images[chosen]

    def state(self) -> dict[str, Tensor]:
        """The state of the order and of the augmentation."""
        return self._order.state()

    def set_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._order.set_state(state)


class _ReadAhead(_Stream):
    """The same batches for images on disk: reads the next batch while training on the current one."""

    def __init__(
        self, split: Split, training: Training, seed: int, weights: Tensor | None = None, *, is_target: bool = False
    ) -> None:
        super().__init__(split, training, seed, weights, is_target=is_target)
        self._reader = ThreadPoolExecutor(max_workers=1)
        self._waiting: tuple[Tensor, Future[Tensor]] | None = None
        self._before: dict[str, Tensor] | None = None

    def __next__(self) -> Batch:
        batch = super().__next__()
        # Draw only after this batch's augmentation has been drawn: the same order as without a thread.
        self._before = self._order.state()
        chosen = next(self._order)
        self._waiting = chosen, self._reader.submit(self._read, chosen)
        return batch

    def _next_pictures(self) -> tuple[Tensor, Tensor]:
        if self._waiting is None:
            chosen = next(self._order)
            return chosen, self._read(chosen)
        chosen, pictures = self._waiting
        return chosen, pictures.result()

    def _read(self, chosen: Tensor) -> Tensor:
        return channels_last(self._images[chosen])

    def state(self) -> dict[str, Tensor]:
        """The state before the waiting batch was drawn."""
        return self._before or super().state()

    def set_state(self, state: dict[str, Tensor]) -> None:
        """Drop the waiting batch: it does not follow the restored state."""
        self._waiting = self._before = None
        super().set_state(state)


def class_weights(split: Split) -> Tensor:
    """Weights of the images (N,) with which all classes that are present count equally; 1 on average."""
    counts = torch.bincount(split.labels, minlength=len(split.classes))
    return len(split) / (int((counts > 0).sum()) * counts[split.labels].float())


def _optimiser(
    strategy: Strategy, network: Network, training: Training
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW (Loshchilov & Hutter 2019) with a one-cycle schedule (Smith & Topin 2018), one peak rate per group."""
    groups = [
        {
            "params": list(group.parameters),
            "lr": training.learning_rate * group.rate,
            "weight_decay": training.weight_decay * group.decay,
        }
        for group in strategy.parameter_groups(network)
    ]
    optimiser = torch.optim.AdamW(groups, fused=True)
    peaks = [group["lr"] for group in optimiser.param_groups]
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=training.steps + 1)


def _rule(strategy: Strategy, training: Training) -> str:
    return training.keep if strategy.uses_labels else strategy.label_free_selection


def _autocasts(training: Training, device: torch.device) -> bool:
    return training.precision == "bfloat16" or (training.precision == "auto" and device.type == "cuda")
