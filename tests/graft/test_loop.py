import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graft.loop import train
from graft.network import Network, predict
from graft.sampling import endless_batches
from graft.settings import Augmentation, Training
from graft.strategies.base import Batch, ParameterGroup, Strategy
from graft.strategies.scratch import Scratch
from tests.graft.pictures import bars, tiny_network

QUICK = Training(steps=30, batch_size=16, learning_rate=0.02, evaluations=5)


def weights(network: nn.Module) -> list[Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_network_learns_a_simple_domain() -> None:
    network = tiny_network()
    fit = train(network, Scratch(), bars(60), bars(30, seed=1), QUICK)
    probabilities, _ = predict(network, bars(60, seed=2).images)
    assert (probabilities.argmax(1) == bars(60, seed=2).labels).float().mean() > 0.95
    assert fit.curve[-1].train_loss < fit.curve[0].train_loss
    assert [point.step for point in fit.curve] == [6, 12, 18, 24, 30]


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_seed_others() -> None:
    how = replace(QUICK, augmentation=Augmentation(flip=0.5, crop=1, rotate=10, scale=0.1, morphology=0.3))

    def run(seed: int) -> list[Tensor]:
        network = tiny_network()
        train(network, Scratch(), bars(60), bars(30, seed=1), how, seed=seed)
        return weights(network)

    assert same(run(0), run(0))
    assert not same(run(0), run(1))


def test_the_loop_agrees_with_one_written_by_hand() -> None:
    """AdamW, one-cycle, label smoothing and clipping as torch's documentation spells them out."""
    how = Training(
        steps=12, batch_size=8, learning_rate=0.01, weight_decay=0.1, label_smoothing=0.1, clip_norm=0.5,
        evaluations=1, keep="last",
    )  # fmt: skip
    data, ours, theirs = bars(24), tiny_network(), tiny_network()
    train(ours, Scratch(), data, data, how, seed=5)

    optimiser = torch.optim.AdamW(theirs.parameters(), lr=how.learning_rate, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, how.learning_rate, total_steps=how.steps + 1)
    order = endless_batches(24, 8, torch.Generator().manual_seed(5))
    theirs.train()
    for _ in range(how.steps):
        index = next(order)
        loss = F.cross_entropy(theirs(data.images[index].float() / 255), data.labels[index], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimiser.step()
        schedule.step()
    for mine, reference in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-4)


def test_best_validation_keeps_the_evaluation_of_lowest_loss_and_last_the_last() -> None:
    data, noise = bars(30), bars(30, seed=1)
    noise = type(noise)(noise.images, noise.labels.roll(1), noise.classes)  # learning makes this validation set worse
    network = tiny_network()
    fit = train(network, Scratch(), data, noise, QUICK)
    assert fit.selected_step == min(fit.curve, key=lambda point: point.val_loss).step
    assert fit.selected_step < 30
    probabilities, _ = predict(network, noise.images)
    kept_loss = F.nll_loss(probabilities.log(), noise.labels).item()
    assert kept_loss == pytest.approx(min(point.val_loss for point in fit.curve), rel=1e-4)
    assert train(tiny_network(), Scratch(), data, noise, replace(QUICK, keep="last")).selected_step == 30


def test_rates_of_parameter_groups_are_multiples_of_the_budgets() -> None:
    @dataclass(frozen=True)
    class HeadOnly(Strategy):
        def parameter_groups(self, network: Network) -> list[ParameterGroup]:
            return [ParameterGroup(list(network.head.parameters()), 0.5)]

    network = tiny_network()
    before = weights(network.backbone)
    fit = train(network, HeadOnly(), bars(30), bars(30), replace(QUICK, evaluations=30))
    assert max(point.learning_rate for point in fit.curve) == pytest.approx(0.5 * QUICK.learning_rate, rel=0.01)
    trained = dict(network.backbone.named_parameters())
    names = list(network.backbone.state_dict())
    after = dict(zip(names, before, strict=True))
    assert all(torch.equal(trained[name], after[name]) for name in trained)


def test_progress_runs_from_zero_to_one_and_source_batches_come_only_when_asked_for() -> None:
    seen: list[tuple[float, bool]] = []

    @dataclass(frozen=True)
    class Watching(Strategy):
        def loss(self, network: Network, source: Batch | None, target: Batch, progress: float) -> Tensor:
            seen.append((progress, source is None))
            return super().loss(network, source, target, progress)

    @dataclass(frozen=True)
    class WithSource(Watching):
        uses_source_data = True

    train(tiny_network(), Watching(), bars(30), bars(30), QUICK, source=bars(9))
    assert seen[0] == (0.0, True)
    assert seen[-1] == (1.0, True)
    seen.clear()
    train(tiny_network(), WithSource(), bars(30), bars(30), QUICK, source=bars(9))
    assert {without for _, without in seen} == {False}


def test_a_loss_that_is_no_longer_finite_is_reported() -> None:
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train(tiny_network(), Scratch(), bars(30), bars(30), replace(QUICK, learning_rate=1e30, clip_norm=0.0))


def test_bfloat16_trains_about_as_well_as_float32() -> None:
    network = tiny_network()
    fit = train(network, Scratch(), bars(60), bars(30, seed=1), replace(QUICK, precision="bfloat16"))
    assert fit.curve[-1].val_accuracy > 0.9
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert all(math.isfinite(point.val_loss) for point in fit.curve)
