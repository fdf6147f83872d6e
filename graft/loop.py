"""The one optimisation loop: every strategy, and the pretraining, goes through it.

Legend: B batch, C channels, H W height and width, K classes.
"""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.augment import augment
from graft.network import Network, predict
from graft.sampling import endless_batches
from graft.selection import Evaluation, is_better
from graft.settings import Training
from graft.split import Split
from graft.strategies.base import Batch, Strategy


@dataclass(frozen=True)
class Fit:
    """What a training run ends with; the network holds the weights of `selected_step`."""

    curve: tuple[Evaluation, ...]
    selected_step: int


def train(
    network: Network,
    strategy: Strategy,
    target: Split,
    validation: Split,
    training: Training,
    *,
    source: Split | None = None,
    seed: int = 0,
    on_evaluation: Callable[[Evaluation], None] = lambda _: None,
) -> Fit:
    """Train `network` in place, on the device where it is, as `strategy` says and within the budget `training`.

    Args:
        target: labelled pictures of the target domain to train on; moved to the network's device.
        validation: others of the target domain, to choose the weights by.
        source: labelled pictures of the source domain; only strategies with `uses_source_data` need them.
        seed: of the order and the augmentation of the pictures.
        on_evaluation: told of every point of the learning curve as it is made.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)
    targets = _batches(target.to(device), training, seed)
    sources = _batches(source.to(device), training, seed + 1) if source and strategy.uses_source_data else None
    optimiser, schedule = _optimiser(strategy, network, training)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    autocast = _autocasts(training, device)
    due = {round(training.steps * (i + 1) / training.evaluations) for i in range(training.evaluations)}
    curve: list[Evaluation] = []
    best: tuple[Evaluation, dict[str, Tensor]] | None = None
    total, since = torch.zeros((), device=device), 0

    for step in range(1, training.steps + 1):
        strategy.train_mode(network)
        progress = (step - 1) / max(1, training.steps - 1)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = strategy.loss(network, next(sources) if sources else None, next(targets), progress)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if training.clip_norm:
            nn.utils.clip_grad_norm_(parameters, training.clip_norm)
        optimiser.step()
        rate = float(schedule.get_last_lr()[0])
        schedule.step()
        total, since = total + loss.detach(), since + 1
        if step in due:
            point = _evaluate(network, validation, step, rate, float(total) / since)
            total, since = torch.zeros((), device=device), 0
            curve.append(point)
            on_evaluation(point)
            if is_better(training.keep, point, best[0] if best else None):
                best = (point, deepcopy(network.state_dict()))
    assert best is not None
    network.load_state_dict(best[1])
    return Fit(tuple(curve), best[0].step)


def _batches(split: Split, training: Training, seed: int) -> Iterator[Batch]:
    """Endless augmented batches; the order and the variations depend on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    images = split.images.contiguous(memory_format=torch.channels_last)
    for indices in endless_batches(len(split), training.batch_size, generator):
        on_device = indices.to(images.device)
        pictures = augment(images[on_device].float() / 255, training.augmentation, generator)
        yield Batch(pictures, split.labels[on_device], training.label_smoothing)


def _optimiser(
    strategy: Strategy, network: Network, training: Training
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW (Loshchilov & Hutter 2019) under a one-cycle schedule (Smith & Topin 2018), a peak rate for each group."""
    groups = [
        {"params": list(group.parameters), "lr": training.learning_rate * group.rate}
        for group in strategy.parameter_groups(network)
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=training.weight_decay, fused=True)
    peaks = [group["lr"] for group in optimiser.param_groups]
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=training.steps + 1)


def _autocasts(training: Training, device: torch.device) -> bool:
    return training.precision == "bfloat16" or (training.precision == "auto" and device.type == "cuda")


def _evaluate(network: Network, validation: Split, step: int, rate: float, train_loss: float) -> Evaluation:
    probabilities, _ = predict(network, validation.images)
    labels = validation.labels.cpu()
    val_loss = F.nll_loss(probabilities.clamp_min(1e-12).log(), labels).item()
    if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
        raise FloatingPointError(f"the loss is {train_loss} at step {step}: lower the learning rate or clip harder")
    accuracy = (probabilities.argmax(dim=1) == labels).double().mean().item()
    return Evaluation(step, rate, train_loss, val_loss, accuracy)
