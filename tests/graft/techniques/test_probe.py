import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from torch import nn

from graft.data.sampling import folds
from graft.data.source_labels import of_shared_classes
from graft.data.split import Domains, Split
from graft.loop import train
from graft.networks.network import predict
from graft.settings import Augmentation, Training
from graft.strategies.fine_tune import FineTune
from graft.strategies.joint_probe import JointProbe
from graft.strategies.linear_probe import LinearProbe
from graft.strategies.random_frozen import RandomFrozen
from graft.strategies.scratch import Scratch
from graft.techniques.probe import FOLDS, STRENGTHS, Choice, _Problem, best_choice, fit_probe
from graft.techniques.relationship import related_head
from tests.graft.pictures import CLASSES, bars, tiny_network

BUDGET = Training(steps=200, batch_size=32, learning_rate=0.003, evaluations=1, keep="last")


def clouds(n: int, *, seed: int = 0, size: int = 40) -> Split:
    """Features of three overlapping classes, with very different variances and far from zero."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(3, size, generator=torch.Generator().manual_seed(99)) * 0.3
    labels = torch.arange(n) % 3
    features = centres[labels] + torch.randn(n, size, generator=generator)
    return Split(features * torch.logspace(-1, 1, size) + 5, labels, CLASSES)


@pytest.mark.parametrize("strength", [1.0, 0.1, 0.01, 1e-3])
def test_a_probe_is_at_scikit_learns_optimum(strength: float) -> None:
    training, other = clouds(60), clouds(60, seed=5)
    x, held = training.images.double().numpy(), other.images.double().numpy()
    mean = x.mean(axis=0)
    scale = np.sqrt(np.square(x - mean).sum(axis=1).mean())  # the root mean square norm of a feature vector
    best = LogisticRegression(C=1 / (strength * 60), max_iter=10_000, tol=1e-10)
    best.fit((x - mean) / scale, training.labels.numpy())
    ours = fit_probe(training, strengths=(strength,))
    expected = torch.from_numpy(best.predict_log_proba((held - mean) / scale))
    torch.testing.assert_close(ours(other.images).log_softmax(dim=1).double(), expected, atol=1e-3, rtol=1e-3)


def test_the_strength_with_the_lowest_loss_out_of_fold_is_kept() -> None:
    training, other = clouds(45), clouds(60, seed=5)
    x, labels = training.images.double().numpy(), training.labels.numpy()
    mean = x.mean(axis=0)
    scaled = (x - mean) / np.sqrt(np.square(x - mean).sum(axis=1).mean())
    held = folds(training, FOLDS)

    def loss(strength: float) -> float:
        total = 0.0
        for places in held:
            rest = np.setdiff1d(np.arange(45), places)
            model = LogisticRegression(C=1 / (strength * len(rest)), max_iter=10_000, tol=1e-10)
            said = model.fit(scaled[rest], labels[rest]).predict_log_proba(scaled[places])
            total -= said[np.arange(len(places)), labels[places]].sum()
        return total / 45

    best = min(STRENGTHS, key=loss)
    assert STRENGTHS[0] > best > STRENGTHS[-1], "neither end of the path is best here, so that choosing matters"
    alone = fit_probe(training, strengths=(best,))
    torch.testing.assert_close(fit_probe(training)(other.images), alone(other.images), rtol=1e-3, atol=1e-3)


def test_with_one_image_per_class_there_is_nothing_to_choose_by() -> None:
    assert not folds(clouds(3), FOLDS)
    assert fit_probe(clouds(3))(clouds(300, seed=6).images).isfinite().all()


def test_a_probe_near_the_sources_head_minimises_what_it_says() -> None:
    training, strength = clouds(12), 0.1
    torch.manual_seed(1)
    source = nn.Linear(40, 5)
    nn.init.normal_(source.weight, std=0.02)
    probe, known = fit_probe(training, source, strengths=(strength,)), related_head(source, training)
    x = training.images.double().numpy()
    length = np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1).mean())

    def objective(flat: np.ndarray) -> float:
        weight, bias = flat[:120].reshape(3, 40), flat[120:]
        log = log_softmax(x @ weight.T + bias, axis=1)
        away = (weight - known.weight.detach().double().numpy()) * length
        return float(-log[np.arange(12), training.labels.numpy()].mean() + strength / 2 * np.square(away).sum())

    found = np.concatenate([probe.weight.detach().double().numpy().ravel(), probe.bias.detach().double().numpy()])
    best = minimize(objective, found, method="L-BFGS-B", options={"maxfun": 100_000})
    assert objective(found) == pytest.approx(best.fun, rel=1e-4)


def test_the_folds_choose_whether_the_probe_is_kept_near_the_sources_head() -> None:
    """A head with the same classes under other names helps where labels are few; a random head does no harm."""
    few, test = clouds(6), clouds(300, seed=6)
    plain, knows = fit_probe(few), fit_probe(clouds(300, seed=7))
    torch.manual_seed(0)
    noise = nn.Linear(40, 3)

    def accuracy(probe: nn.Linear) -> float:
        return (probe(test.images).argmax(dim=1) == test.labels).double().mean().item()

    assert accuracy(fit_probe(few, knows)) > accuracy(plain) + 0.1
    torch.testing.assert_close(fit_probe(few, noise).weight, plain.weight)


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_a_joint_probe_is_at_scikit_learns_optimum_with_the_same_weights(share: float) -> None:
    few, many, other = clouds(12), clouds(90, seed=3), clouds(60, seed=5)
    with torch.no_grad():
        ours = _Problem(few, many).fit(Choice(0.01, source_share=share))
    x = torch.cat([few.images, many.images]).double().numpy()
    mean = x.mean(axis=0)
    scale = np.sqrt(np.square(x - mean).sum(axis=1).mean())
    weights = np.concatenate([np.full(12, (1 - share) / 12), np.full(90, share / 90)])
    best = LogisticRegression(C=1 / 0.01, max_iter=10_000, tol=1e-10)
    best.fit((x - mean) / scale, torch.cat([few.labels, many.labels]).numpy(), weights)
    expected = torch.from_numpy(best.predict_log_proba((other.images.double().numpy() - mean) / scale))
    torch.testing.assert_close(ours(other.images).log_softmax(dim=1).double(), expected, atol=2e-3, rtol=2e-3)


def test_the_folds_choose_the_share_of_the_source() -> None:
    """Images of the same classes help where labels are few; those of classes that mean something else are left out."""
    few, test = clouds(18), clouds(300, seed=6)
    alike, unlike = clouds(60, seed=7), clouds(60, seed=7)
    unlike = replace(unlike, labels=(unlike.labels + 1) % 3)

    def accuracy(probe: nn.Linear) -> float:
        return (probe(test.images).argmax(dim=1) == test.labels).double().mean().item()

    assert accuracy(fit_probe(few, source=alike)) > accuracy(fit_probe(few)) + 0.05
    assert best_choice(few, alike).source_share > best_choice(few, unlike).source_share == 0


def test_source_classes_are_matched_by_name() -> None:
    images = torch.arange(4.0).unsqueeze(1)
    source = Split(images, torch.tensor([0, 1, 2, 1]), ("other", CLASSES[2], CLASSES[0]))
    found = of_shared_classes(source, CLASSES, 9)
    assert found is not None
    assert found.images.flatten().tolist() == [1, 2, 3]
    assert found.labels.tolist() == [2, 0, 2]
    assert of_shared_classes(replace(source, classes=("a", "b", "c")), CLASSES, 9) is None


def test_a_joint_probe_without_a_shared_class_is_a_linear_probe() -> None:
    few, source = bars(12), replace(bars(30), classes=("a", "b", "c"))
    networks = [tiny_network(), tiny_network()]
    for strategy, network in zip((JointProbe(), LinearProbe()), networks, strict=True):
        strategy.adapt(network, CLASSES)
        train(network, strategy, Domains(few, few, source), BUDGET)
    assert torch.equal(networks[0].head.weight, networks[1].head.weight)


def test_linear_probe_starts_from_what_the_sources_head_knows_unless_it_must_not() -> None:
    source = tiny_network(seed=3)
    how = Training(steps=40, batch_size=16, learning_rate=0.02)
    train(source, Scratch(), Domains(bars(90), bars(30, seed=1)), how)
    test = bars(120, seed=9, noise=180)

    def accuracy(strategy: LinearProbe) -> float:
        network = strategy.adapt(copy.deepcopy(source), CLASSES)
        train(network, strategy, Domains(bars(3, seed=5, noise=180), bars(30, seed=6, noise=180)), BUDGET)
        assert not network.extras
        return (predict(network, test.images)[0].argmax(dim=1) == test.labels).double().mean().item()

    assert accuracy(LinearProbe()) > accuracy(LinearProbe(related=False))


def test_fine_tuning_may_begin_at_the_probe() -> None:
    pictures, validation = bars(30), bars(60, seed=1)
    probed, tuned = tiny_network(), tiny_network()
    train(LinearProbe().adapt(probed, CLASSES), LinearProbe(), Domains(pictures, validation), BUDGET)
    strategy = FineTune(head="probe")
    strategy.begin(strategy.adapt(tuned, CLASSES), Domains(pictures, validation))
    expected, _ = predict(probed, validation.images)
    torch.testing.assert_close(predict(tuned, validation.images)[0], expected, rtol=0, atol=0.02)


def test_the_finished_network_predicts_from_pictures_what_the_probe_learned_from_features() -> None:
    network, strategy, validation = tiny_network(), LinearProbe(views=2), bars(60, seed=1)
    strategy.adapt(network, CLASSES)
    train(network, strategy, Domains(bars(60), validation), BUDGET)
    finished = strategy.finish(network)
    probabilities, features = predict(finished, validation.images)
    torch.testing.assert_close(finished.head(features).softmax(dim=1), probabilities)
    assert (probabilities.argmax(dim=1) == validation.labels).double().mean() > 0.9
    assert list(finished.state_dict()) == list(tiny_network().state_dict())


def test_a_feature_that_hardly_varies_in_training_is_not_blown_up_on_other_pictures() -> None:
    features = clouds(30).images
    features[:, 0], features[:, 1] = 7.0, 3.0
    features[0, 1] += 1e-6
    probe = fit_probe(Split(features, clouds(30).labels, CLASSES))
    other = features.clone()
    other[:, :2] += 0.1
    assert (probe(other) - probe(features)).abs().max() < 1


@pytest.mark.parametrize("kind", [LinearProbe, RandomFrozen])
def test_the_body_is_asked_once_for_each_view_of_a_picture(kind: type[LinearProbe] | type[RandomFrozen]) -> None:
    seen: list[int] = []
    strategy = kind(views=3)
    network = strategy.adapt(tiny_network(), CLASSES)
    network.backbone.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    train(network, strategy, Domains(bars(30), bars(12)), replace(BUDGET, steps=20, augmentation=Augmentation(crop=1)))
    assert sum(seen) == 3 * 30 + 12


def test_random_frozen_keeps_a_body_that_saw_neither_source_nor_target() -> None:
    source, strategy = tiny_network(seed=3), RandomFrozen()
    torch.manual_seed(7)
    network = strategy.adapt(source, CLASSES)
    train(network, strategy, Domains(bars(30), bars(12, seed=1)), replace(BUDGET, steps=20))
    fresh = tiny_network(seed=7)
    assert not torch.equal(network.backbone[0][0].weight, source.backbone[0][0].weight)
    for found, initial in zip(
        network.backbone.state_dict().values(), fresh.backbone.state_dict().values(), strict=True
    ):
        assert torch.equal(found, initial)
    assert not torch.equal(network.head.weight, fresh.head.weight)
