"""The one optimisation loop: every strategy, and the pretraining, goes through it.

Legend: B batch, C channels, H W height and width, K classes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.augment import augment
from graft.feature_cache import cache_features
from graft.keeper import Keeper
from graft.network import Network, predict
from graft.sampling import endless_batches, endless_draws
from graft.selection import Evaluation
from graft.settings import Training
from graft.split import Domains, Split
from graft.strategies.base import Batch, Step, Strategy


@dataclass(frozen=True)
class Fit:
    """What a training run ends with; the network holds the weights of `selected_step`."""

    curve: tuple[Evaluation, ...] = ()
    """Empty for a strategy that does not optimise."""
    selected_step: int = 0
    """0 for a strategy that does not optimise."""
    source_weights: Tensor | None = None
    """(N,) on the CPU: how often each source picture was drawn, relative to the others; None if all alike."""
    oracle: dict[str, Tensor] | None = None
    """For a strategy without labels: the weights that the labels of the validation data would have chosen."""

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
) -> Fit:
    """Train `network` in place, on the device where it is, as `strategy` says and within the budget `training`.

    Args:
        domains: what may be looked at; moved to the network's device. Only strategies that say so see pictures of
            `source` and `unlabelled`, and one without labels sees none of the target's.
        seed: of the order and the augmentation of the pictures.
        on_evaluation: told of every point of the learning curve as it is made.

    Raises:
        ValueError: the strategy needs pictures that `domains` does not have.
        FloatingPointError: the loss is no longer finite.
    """
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)
    seen = _visible(domains.to(device), strategy)
    if strategy.feature_views:
        seen = cache_features(network, seen, strategy.feature_views, training.augmentation, seed)
    # What a strategy without labels is told must not hold any, those to validate by included.
    told = seen if strategy.uses_labels else replace(seen, validation=seen.validation.without_labels())
    strategy.begin(network, told)
    if not strategy.optimises:
        return Fit()
    weights = strategy.source_weights(network, told)
    steps = _steps(seen, weights, training, seed)
    optimiser, schedule = _optimiser(strategy, network, training)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    autocast = _autocasts(training, device)
    due = {round(training.steps * (i + 1) / training.evaluations) for i in range(training.evaluations)}
    curve: list[Evaluation] = []
    kept, oracle = Keeper(_rule(strategy, training)), Keeper("oracle")
    total, since = torch.zeros((), device=device), 0

    for number in range(1, training.steps + 1):
        strategy.train_mode(network)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = strategy.loss(network, next(steps))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if training.clip_norm:
            nn.utils.clip_grad_norm_(parameters, training.clip_norm)
        optimiser.step()
        rate = float(schedule.get_last_lr()[0])
        schedule.step()
        total, since = total + loss.detach(), since + 1
        if number in due:
            strategy.choose(network, told.validation)
            score = strategy.label_free_score(network, told)
            point = _evaluate(network, seen.validation, number, rate, float(total) / since, score)
            total, since = torch.zeros((), device=device), 0
            curve.append(point)
            on_evaluation(point)
            kept.offer(point, network)
            if not strategy.uses_labels:
                oracle.offer(point, network)
    network.load_state_dict(kept.state, strict=False)
    return Fit(tuple(curve), kept.best.step, None if weights is None else weights.cpu(), oracle.found_state())


def _visible(domains: Domains, strategy: Strategy) -> Domains:
    """What the strategy may look at, and has to be there."""
    missing = [
        name
        for name, wanted in (("source", strategy.uses_source_data), ("unlabelled", strategy.uses_unlabelled))
        if wanted and getattr(domains, name) is None
    ]
    if missing:
        raise ValueError(f"{type(strategy).__name__} needs {' and '.join(missing)} pictures, and there are none")
    return Domains(
        domains.target if strategy.uses_labels else domains.target.without_labels(),
        domains.validation,
        domains.source if strategy.uses_source_data else None,
        domains.unlabelled.without_labels() if domains.unlabelled and strategy.uses_unlabelled else None,
    )


def _steps(domains: Domains, weights: Tensor | None, training: Training, seed: int) -> Iterator[Step]:
    """The batches of every step; their order and variations depend on the seed alone."""
    targets = _batches(domains.target, training, seed)
    sources = _batches(domains.source, training, seed + 1, weights) if domains.source else None
    others = _batches(domains.unlabelled, training, seed + 2) if domains.unlabelled else None
    for number in range(training.steps):
        progress = number / max(1, training.steps - 1)
        yield Step(next(targets), progress, next(sources) if sources else None, next(others) if others else None)


def _batches(split: Split, training: Training, seed: int, weights: Tensor | None = None) -> Iterator[Batch]:
    """Endless augmented batches; features that were computed before are taken as they are."""
    generator = torch.Generator().manual_seed(seed)
    images = split.images
    if images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    order = (
        endless_batches(len(split), training.batch_size, generator)
        if weights is None
        else endless_draws(weights.cpu(), training.batch_size, generator)
    )
    for indices in order:
        chosen = indices.to(images.device)
        batch = images[chosen]
        if batch.ndim == 4:
            batch = augment(batch.float() / 255, training.augmentation, generator)
        yield Batch(batch, split.labels[chosen], training.label_smoothing)


def _optimiser(
    strategy: Strategy, network: Network, training: Training
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW (Loshchilov & Hutter 2019) under a one-cycle schedule (Smith & Topin 2018), a peak rate for each group."""
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


def _evaluate(
    network: Network, validation: Split, step: int, rate: float, train_loss: float, score: float | None
) -> Evaluation:
    probabilities, _ = predict(network, validation.images)
    labels = validation.labels.cpu()
    val_loss = F.nll_loss(probabilities.clamp_min(1e-12).log(), labels).item()
    if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
        raise FloatingPointError(f"the loss is {train_loss} at step {step}: lower the learning rate or clip harder")
    accuracy = (probabilities.argmax(dim=1) == labels).double().mean().item()
    return Evaluation(step, rate, train_loss, val_loss, accuracy, score)
