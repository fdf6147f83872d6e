import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from graft.contract import Batch, ParameterGroup, Step, Strategy
from graft.data.sampling import Batches
from graft.data.split import Domains, Split
from graft.loop import class_weights, train
from graft.networks.network import Network, predict
from graft.settings import Augmentation, Training
from graft.strategies.scratch import Scratch
from tests.graft.pictures import bars, tiny_network

QUICK = Training(steps=30, batch_size=16, learning_rate=0.02, evaluations=5)


def weights(network: nn.Module) -> list[Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_network_learns_a_simple_domain() -> None:
    network = tiny_network()
    fit = train(network, Scratch(), Domains(bars(60), bars(30, seed=1)), QUICK)
    probabilities, _ = predict(network, bars(60, seed=2).images)
    assert (probabilities.argmax(1) == bars(60, seed=2).labels).float().mean() > 0.95
    assert fit.curve[-1].train_loss < fit.curve[0].train_loss
    assert [point.step for point in fit.curve] == [6, 12, 18, 24, 30]


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_seed_others() -> None:
    how = replace(QUICK, augmentation=Augmentation(flip=0.5, crop=1, rotate=10, scale=0.1, morphology=0.3))

    def run(seed: int) -> list[Tensor]:
        network = tiny_network()
        train(network, Scratch(), Domains(bars(60), bars(30, seed=1)), how, seed=seed)
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
    train(ours, Scratch(), Domains(data, data), how, seed=5)

    optimiser = torch.optim.AdamW(theirs.parameters(), lr=how.learning_rate, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, how.learning_rate, total_steps=how.steps + 1)
    order = Batches(24, 8, torch.Generator().manual_seed(5))
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
    fit = train(network, Scratch(), Domains(data, noise), QUICK)
    assert fit.selected_step == min(fit.curve, key=lambda point: point.val_loss).step
    assert fit.selected_step < 30
    probabilities, _ = predict(network, noise.images)
    kept_loss = F.nll_loss(probabilities.log(), noise.labels).item()
    assert kept_loss == pytest.approx(min(point.val_loss for point in fit.curve), rel=1e-4)
    assert train(tiny_network(), Scratch(), Domains(data, noise), replace(QUICK, keep="last")).selected_step == 30


def test_rates_of_parameter_groups_are_multiples_of_the_budgets() -> None:
    @dataclass(frozen=True)
    class HeadOnly(Strategy):
        def parameter_groups(self, network: Network) -> list[ParameterGroup]:
            return [ParameterGroup(list(network.head.parameters()), 0.5)]

    network = tiny_network()
    before = weights(network.backbone)
    fit = train(network, HeadOnly(), Domains(bars(30), bars(30)), replace(QUICK, evaluations=30))
    assert max(point.learning_rate for point in fit.curve) == pytest.approx(0.5 * QUICK.learning_rate, rel=0.01)
    trained = dict(network.backbone.named_parameters())
    names = list(network.backbone.state_dict())
    after = dict(zip(names, before, strict=True))
    assert all(torch.equal(trained[name], after[name]) for name in trained)


def test_progress_runs_from_zero_to_one_and_source_batches_come_only_when_asked_for() -> None:
    seen: list[tuple[float, bool]] = []

    @dataclass(frozen=True)
    class Watching(Strategy):
        def loss(self, network: Network, step: Step) -> Tensor:
            seen.append((step.progress, step.source_batch is None))
            return super().loss(network, step)

    @dataclass(frozen=True)
    class WithSource(Watching):
        uses_source_data = True

    train(tiny_network(), Watching(), Domains(bars(30), bars(30), bars(9)), QUICK)
    assert seen[0] == (0.0, True)
    assert seen[-1] == (1.0, True)
    seen.clear()
    train(tiny_network(), WithSource(), Domains(bars(30), bars(30), bars(9)), QUICK)
    assert {without for _, without in seen} == {False}


def test_a_loss_that_is_no_longer_finite_is_reported() -> None:
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train(tiny_network(), Scratch(), Domains(bars(30), bars(30)), replace(QUICK, learning_rate=1e30, clip_norm=0.0))


def test_bfloat16_trains_about_as_well_as_float32() -> None:
    network = tiny_network()
    fit = train(network, Scratch(), Domains(bars(60), bars(30, seed=1)), replace(QUICK, precision="bfloat16"))
    assert fit.curve[-1].val_accuracy > 0.9
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert all(math.isfinite(point.val_loss) for point in fit.curve)


def test_a_strategy_without_labels_never_meets_one() -> None:
    """A loop that gets labels does not pass them on, and the labels do not change the trained weights."""
    met: list[Tensor] = []

    @dataclass(frozen=True)
    class Blind(Strategy):
        uses_labels = False

        def note(self, domains: Domains) -> None:
            met.extend([domains.target.labels, domains.validation.labels])

        def begin(self, network: Network, domains: Domains) -> None:
            self.note(domains)

        def source_weights(self, network: Network, domains: Domains) -> None:
            self.note(domains)

        def choose(self, network: Network, validation: Split) -> None:
            met.append(validation.labels)

        def label_free_score(self, network: Network, domains: Domains) -> float:
            self.note(domains)
            return 0.0

        def loss(self, network: Network, step: Step) -> Tensor:
            met.append(step.target.labels)
            return network(step.target.images).square().mean()

    def run(target: Split) -> list[Tensor]:
        network = tiny_network()
        train(network, Blind(), Domains(target, bars(30, seed=1)), QUICK)
        return weights(network)

    pictures = bars(30)
    others = Split(pictures.images, pictures.labels.roll(1), pictures.classes)
    assert same(run(pictures), run(others))
    assert len(met) > QUICK.steps
    assert all(bool((labels == -1).all()) for labels in met)


def test_unlabelled_pictures_come_without_the_labels_that_the_loop_was_handed() -> None:
    met: list[Tensor] = []

    @dataclass(frozen=True)
    class Curious(Strategy):
        uses_unlabelled = True

        def begin(self, network: Network, domains: Domains) -> None:
            assert domains.unlabelled is not None
            met.append(domains.unlabelled.labels)

        def loss(self, network: Network, step: Step) -> Tensor:
            met.append(step.unlabelled.labels)
            return super().loss(network, step)

    train(tiny_network(), Curious(), Domains(bars(30), bars(9, seed=1), unlabelled=bars(30, seed=2)), QUICK)
    assert len(met) == 1 + QUICK.steps
    assert all(bool((labels == -1).all()) for labels in met)


def test_the_oracle_of_a_strategy_without_labels_is_kept_apart() -> None:
    @dataclass(frozen=True)
    class Blind(Strategy):
        uses_labels = False

        def loss(self, network: Network, step: Step) -> Tensor:
            return network(step.target.images).square().mean()

    network = tiny_network()
    fit = train(network, Blind(), Domains(bars(30), bars(30, seed=1)), QUICK)
    assert fit.selected_step == QUICK.steps
    assert fit.oracle is not None
    best = max(point.val_accuracy for point in fit.curve)
    network.load_state_dict(fit.oracle)
    probabilities, _ = predict(network, bars(30, seed=1).images)
    assert (probabilities.argmax(1) == bars(30, seed=1).labels).double().mean().item() == pytest.approx(best)
    assert train(tiny_network(), Scratch(), Domains(bars(30), bars(30)), QUICK).oracle is None


def test_missing_pictures_are_named() -> None:
    @dataclass(frozen=True)
    class Greedy(Strategy):
        uses_source_data = True
        uses_unlabelled = True

    with pytest.raises(ValueError, match="test_loop needs source and unlabelled images"):
        train(tiny_network(), Greedy(), Domains(bars(9), bars(9)), QUICK)


def test_a_frozen_backbone_sees_each_picture_once_for_each_view() -> None:
    @dataclass(frozen=True)
    class Probe(Strategy):
        feature_views = 3

        def adapt(self, source: Network, classes: tuple[str, ...]) -> Network:
            return source

        def parameter_groups(self, network: Network) -> list[ParameterGroup]:
            return [ParameterGroup(list(network.head.parameters()))]

    seen: list[int] = []
    network = tiny_network()
    network.backbone.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    shift = replace(QUICK, augmentation=Augmentation(crop=1), keep="last")
    fit = train(network, Probe(), Domains(bars(30), bars(12)), shift)
    assert sum(seen) == 3 * 30 + 12
    assert fit.curve[-1].train_loss < fit.curve[0].train_loss


def test_source_pictures_are_drawn_by_their_weights() -> None:
    drawn: list[int] = []

    @dataclass(frozen=True)
    class Choosy(Strategy):
        uses_source_data = True

        def source_weights(self, network: Network, domains: Domains) -> Tensor:
            return torch.tensor([0.0, 3.0, 1.0])

        def loss(self, network: Network, step: Step) -> Tensor:
            drawn.extend(step.source.labels.tolist())
            return super().loss(network, step)

    fit = train(tiny_network(), Choosy(), Domains(bars(30), bars(9), bars(3)), QUICK)
    counts = torch.bincount(torch.tensor(drawn), minlength=3)
    assert counts[0] == 0
    assert counts[1] / counts[2] == pytest.approx(3, rel=0.4)
    assert fit.source_weights is not None
    assert fit.source_weights.tolist() == [0.0, 3.0, 1.0]


def uneven() -> Split:
    """Forty images of the first class, eight of the second and four of the last."""
    data = bars(120)
    kept = torch.cat([(data.labels == label).nonzero().flatten()[:count] for label, count in enumerate((40, 8, 4))])
    return data.take(kept)


def test_balanced_weights_are_those_of_scikit_learn_and_weigh_the_loss() -> None:
    data = uneven()
    of_class = compute_class_weight("balanced", classes=np.arange(3), y=data.labels.numpy())
    torch.testing.assert_close(class_weights(data).double(), torch.from_numpy(of_class)[data.labels])
    assert class_weights(data).mean().item() == pytest.approx(1)
    seen: list[Batch] = []

    class Looks(Scratch):
        def loss(self, network: Network, step: Step) -> Tensor:
            seen.append(step.target)
            return super().loss(network, step)

    for balance in ("none", "balanced"):
        train(tiny_network(), Looks(), Domains(data, bars(30, seed=1)), replace(QUICK, steps=1, class_weights=balance))
    plain, weighed = seen
    assert plain.weights is None
    assert torch.equal(plain.labels, weighed.labels)
    logits = torch.randn(len(weighed.labels), 3, generator=torch.Generator().manual_seed(0))
    by_class = F.cross_entropy(logits, weighed.labels, torch.from_numpy(of_class).float(), reduction="sum")
    assert weighed.cross_entropy(logits).item() == pytest.approx(by_class.item() / len(logits), rel=1e-5)


def test_balanced_weights_find_more_of_a_rare_class() -> None:
    def recall(balance: str) -> float:
        network, test = tiny_network(), bars(90, seed=2, noise=200)
        data = bars(600, noise=200)
        rare = torch.cat([(data.labels == 0).nonzero().flatten(), (data.labels == 1).nonzero().flatten()[:10]])
        how = replace(QUICK, steps=40, class_weights=balance, keep="last")
        train(network, Scratch(), Domains(data.take(rare), bars(30, seed=1, noise=200)), how)
        said = predict(network, test.images)[0].argmax(dim=1)
        return float((said[test.labels == 1] == 1).float().mean())

    assert recall("balanced") > recall("none") + 0.1


def test_a_strategy_without_labels_has_nothing_to_weigh() -> None:
    network = tiny_network()
    blind = bars(30).without_labels()
    found = {}

    class Blind(Scratch):
        uses_labels = False

        def loss(self, network: Network, step: Step) -> Tensor:
            found["weights"] = step.target.weights
            return network(step.target.images).square().mean()

    train(network, Blind(), Domains(blind, bars(30, seed=1)), replace(QUICK, steps=1, class_weights="balanced"))
    assert found == {"weights": None}


class StillNorms(Scratch):
    """Scratch with fixed batch-norm statistics: then the gradient of a batch is the mean over its images."""

    def train_mode(self, network: Network) -> None:
        network.eval()


@pytest.mark.parametrize("balance", ["none", "balanced"])
@pytest.mark.parametrize("parts", [2, 3, 16])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(parts: int, balance: str) -> None:
    how = replace(QUICK, batch_size=14, steps=6, evaluations=2, clip_norm=0.5, label_smoothing=0.1)
    how = replace(how, class_weights=balance)
    whole, divided = tiny_network(), tiny_network()
    domains = Domains(uneven(), bars(30, seed=1))
    one = train(whole, StillNorms(), domains, how)
    other = train(divided, StillNorms(), domains, how, parts=parts)
    for a, b in zip(weights(whole), weights(divided), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert other.curve[-1].train_loss == pytest.approx(one.curve[-1].train_loss, rel=1e-4)


def test_each_part_holds_pictures_of_every_domain_and_two_of_each_at_least() -> None:
    source, target = (Batch(torch.rand(n, 1, 4, 4), torch.arange(n)) for n in (12, 10))
    parts = Step(target, 0.5, source).in_parts(8)
    assert [len(step.target.labels) for _, step in parts] == [2, 2, 2, 2, 2]
    assert [len(step.source.labels) for _, step in parts] == [3, 3, 2, 2, 2]
    assert torch.equal(torch.cat([step.target.labels for _, step in parts]), target.labels)
    assert sum(share for share, _ in parts) == pytest.approx(1)
    assert {step.progress for _, step in parts} == {0.5}
