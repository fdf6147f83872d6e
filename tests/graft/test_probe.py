from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from graft.loop import train
from graft.network import Network, predict
from graft.probe import STRENGTHS, ProbePath
from graft.settings import Augmentation, Training
from graft.split import Domains, Split
from graft.strategies.linear_probe import LinearProbe
from graft.strategies.random_frozen import RandomFrozen
from tests.graft.pictures import CLASSES, bars, tiny_network

BUDGET = Training(steps=200, batch_size=32, learning_rate=0.003, evaluations=1, keep="last")


def clouds(n: int, *, seed: int = 0, size: int = 40) -> Split:
    """Features of three classes that overlap; of very different spread and far from zero."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(3, size, generator=torch.Generator().manual_seed(99)) * 0.3
    labels = torch.arange(n) % 3
    features = centres[labels] + torch.randn(n, size, generator=generator)
    return Split(features * torch.logspace(-1, 1, size) + 5, labels, CLASSES)


@dataclass(frozen=True)
class OnFeatures(LinearProbe):
    """The probe where the domains already hold features, with strengths of its own."""

    strengths: tuple[float, ...] = STRENGTHS
    feature_views = 0

    def begin(self, network: Network, domains: Domains) -> None:
        network.extras["probe"] = ProbePath(domains.target.images, 3, self.strengths)


def trained(features: Split, strengths: tuple[float, ...], training: Training = BUDGET) -> Network:
    network, size = tiny_network(), features.images.shape[1]
    network.feature_size, strategy = size, OnFeatures(strengths=strengths)
    train(strategy.adapt(network, CLASSES), strategy, Domains(features, clouds(30, seed=5, size=size)), training)
    return network


def probes(network: Network) -> ProbePath:
    path = network.extras["probe"]
    assert isinstance(path, ProbePath)
    return path


def test_every_probe_of_a_path_learns_as_if_it_were_alone() -> None:
    # Far apart and many features: the gradient of plain features would be clipped, by how much the others decide.
    features = clouds(60, size=400)
    path = probes(trained(features, (1.0, 1e-2, 1e-4)))
    for number, strength in enumerate((1.0, 1e-2, 1e-4)):
        alone = probes(trained(features, (strength,)))
        torch.testing.assert_close(path.weight[number], alone.weight[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(path.bias[number], alone.bias[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("strength", [1.0, 0.1, 0.01, 1e-3])
def test_two_hundred_steps_come_within_two_percent_of_scikit_learns_optimum(strength: float) -> None:
    features = clouds(60)
    x = features.images.double().numpy()
    x, labels = (x - x.mean(axis=0)) / x.std(axis=0) / np.sqrt(x.shape[1]), features.labels.numpy()

    def objective(weight: np.ndarray, bias: np.ndarray) -> float:
        likelihood = log_softmax(x @ weight.T + bias, axis=1)[np.arange(60), labels]
        return float(-likelihood.mean() + strength / 2 * (weight**2).sum())

    best = LogisticRegression(C=1 / (strength * 60), max_iter=10_000, tol=1e-10).fit(x, labels)
    path = probes(trained(features, (strength,)))
    found = objective(path.weight[0].detach().numpy(), path.bias[0].detach().numpy())
    optimum = objective(best.coef_, best.intercept_)
    assert optimum - 1e-6 <= found <= 1.02 * optimum


def test_the_probe_with_the_lowest_validation_loss_becomes_the_head() -> None:
    features, validation = clouds(30), clouds(60, seed=5)
    network = trained(features, STRENGTHS)
    path = probes(network)
    losses = [F.cross_entropy(path(validation.images)[:, r], validation.labels).item() for r in range(len(STRENGTHS))]
    best = int(np.argmin(losses))
    assert 0 < best < len(STRENGTHS) - 1, "neither end of the path is best here, so that choosing matters"
    with torch.no_grad():
        network.head.weight.zero_()
    LinearProbe().choose(network, validation)
    torch.testing.assert_close(network.head(validation.images), path(validation.images)[:, best], rtol=1e-3, atol=1e-3)


def test_the_finished_network_predicts_from_pictures_what_the_probe_learned_from_features() -> None:
    network, strategy, validation = tiny_network(), LinearProbe(views=2), bars(60, seed=1)
    strategy.adapt(network, CLASSES)
    fit = train(network, strategy, Domains(bars(60), validation), replace(BUDGET, evaluations=5))
    finished = strategy.finish(network)
    probabilities, _ = predict(finished, validation.images)
    assert F.nll_loss(probabilities.log(), validation.labels).item() == pytest.approx(fit.curve[-1].val_loss, rel=1e-3)
    assert (probabilities.argmax(dim=1) == validation.labels).double().mean() > 0.9
    assert list(finished.state_dict()) == list(tiny_network().state_dict())


def test_a_feature_that_hardly_varies_in_training_is_not_blown_up_on_other_pictures() -> None:
    features = clouds(30).images
    features[:, 0], features[:, 1] = 7.0, 3.0
    features[0, 1] += 1e-6
    path = ProbePath(features, 3)
    other = features.clone()
    other[:, :2] += 0.1
    torch.nn.init.ones_(path.weight)
    assert (path(other) - path(features)).abs().max() < 5
    assert path(other).isfinite().all()


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
