"""Co-tuning: the relationship of classes and the loss of the second head, compared with NumPy and scikit-learn."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import nn

from graft.data.sampling import folds
from graft.data.split import Split
from graft.networks.network import Network
from graft.strategies.co_tuning import CoTuning
from graft.techniques.relationship import direct_relationship, related_head, reverse_relationship
from tests.graft.penalties import begun, numpy_cross_entropy, pretrained_network, step_on
from tests.graft.pictures import bars

OTHER_CLASSES = ("elsewhere", "right")


@pytest.fixture(scope="module")
def pretrained() -> Network:
    return pretrained_network()


def test_co_tuning_relates_classes_by_the_sources_mean_prediction() -> None:
    probabilities = torch.tensor([[0.8, 0.2, 0.0], [0.1, 0.1, 0.8], [0.4, 0.6, 0.0]])
    found = direct_relationship(probabilities, torch.tensor([0, 2, 0]), 3)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.4, 0.0], [0.0, 0.0, 0.0], [0.1, 0.1, 0.8]]))


def test_co_tuning_relates_classes_in_reverse_by_bayes_rule() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(30) % 3
    raw = generator.uniform(0, 1, (30, 4))
    raw[np.arange(30), labels] += 0.5
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    seen = Split(torch.from_numpy(probabilities), torch.from_numpy(labels), ("a", "b", "c"))
    held = [places.numpy() for places in folds(seen, 5)]

    def fitted(decay: float, rows: np.ndarray) -> LogisticRegression:
        model = LogisticRegression(C=1 / (len(rows) * decay), tol=1e-10, max_iter=10_000)
        return model.fit(probabilities[rows], labels[rows])

    def out_of_fold(decay: float) -> np.ndarray:
        logits = np.empty((30, 3))
        for places in held:
            logits[places] = fitted(decay, np.setdiff1d(np.arange(30), places)).decision_function(probabilities[places])
        return logits

    decays = 10.0 ** -np.arange(0, 6.5, 0.5)
    best = min(decays, key=lambda decay: log_loss(labels, softmax(out_of_fold(decay), axis=1)))
    temperature = minimize_scalar(lambda t: log_loss(labels, softmax(out_of_fold(best) / t, axis=1)), (1, 2)).x
    model = fitted(best, np.arange(30))
    joint = softmax(model.decision_function(np.eye(4)) / temperature, axis=1) * probabilities.mean(axis=0)[:, None]
    expected = (joint / joint.sum(axis=0)).T
    found = reverse_relationship(seen)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


def test_a_related_head_prefers_the_class_whose_mean_prediction_is_nearest_in_cross_entropy() -> None:
    torch.manual_seed(0)
    head, features, labels = nn.Linear(6, 4), torch.randn(30, 6), torch.arange(30) % 3
    found = related_head(head, Split(features, labels, ("a", "b", "c")))
    source = head(features).softmax(dim=1).detach().double().numpy()
    means = np.stack([source[labels.numpy() == label].mean(axis=0) for label in range(3)])
    expected = (means[None] * np.log(source)[:, None]).sum(axis=2)
    found_logits = found(features).detach().double().numpy()
    difference = found_logits - expected
    np.testing.assert_allclose(difference, np.repeat(difference[:, :1], 3, axis=1), atol=1e-5)


def test_co_tuning_learns_the_relationship_that_was_asked_for(pretrained: Network) -> None:
    target = bars(30, seed=4, classes=OTHER_CLASSES)
    tables = [
        begun(CoTuning(relationship=how), pretrained, target).extras["relationship"](torch.arange(2))
        for how in ("direct", "reverse")
    ]
    assert not torch.allclose(*tables)
    torch.testing.assert_close(tables[1].sum(dim=1), torch.ones(2))


@pytest.mark.parametrize(("asked", "described", "used"), [(None, 2.0, 2.0), (3.0, 2.0, 3.0), (None, None, 1.0)])
def test_co_tuning_softens_the_sources_predictions_by_what_is_asked_or_else_by_what_pretraining_found(
    pretrained: Network, asked: float | None, described: float | None, used: float
) -> None:
    target = bars(10, seed=4, classes=OTHER_CLASSES)
    source = copy.deepcopy(pretrained)
    source.description = replace(source.description, temperature=described)
    network = begun(CoTuning(temperature=asked), source, target)
    logits = pretrained.eval()(target.images).detach().double().numpy() / used
    softened = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for label in range(2):
        expected = softened[target.labels.numpy() == label].mean(axis=0)
        found = network.extras["relationship"](torch.tensor([label]))[0]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_co_tuning_supervises_both_heads(pretrained: Network) -> None:
    target = bars(10, seed=4, classes=OTHER_CLASSES)
    network = begun(CoTuning(), pretrained, target)
    table = network.extras["relationship"](torch.arange(2)).double().numpy()
    logits = pretrained.eval()(target.images).detach().double().numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    of_source = -(table[target.labels.numpy()] * log_probabilities).sum(axis=1).mean()
    of_target = numpy_cross_entropy(network(target.images), target.labels)
    found = CoTuning(weight=3.0).loss(network, step_on(target))
    assert found.item() == pytest.approx(of_target + 3.0 * of_source, rel=1e-4)
    found.backward()
    for head in (network.head, network.extras["source_head"]):
        assert head.weight.grad is not None
        assert head.weight.grad.abs().sum() > 0
