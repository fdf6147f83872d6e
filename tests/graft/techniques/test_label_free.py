import copy
import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from graft.data.split import Domains, Split
from graft.loop import train
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies.mcc import Mcc
from graft.strategies.scratch import Scratch
from graft.techniques.label_free import (
    GUARD,
    MOST_PICTURES,
    guarded_density,
    held_out,
    label_free_score,
    mean_entropy,
    soft_neighborhood_density,
    weighted_risk,
)
from tests.graft.pictures import CLASSES, bars, tiny_network


def noisy_predictions(n: int = 12, classes: int = 3, sharpness: float = 1.0, seed: int = 0) -> Tensor:
    logits = torch.randn(n, classes, generator=torch.Generator().manual_seed(seed)).double()
    return (sharpness * logits).softmax(dim=1)


def of_domains(network: Network, rule: str, target: Split, source: Split | None = None) -> float:
    found = label_free_score(rule, network, Domains(target.without_labels(), target, source))
    assert found is not None
    return found


def test_snd_agrees_with_the_papers_formula_written_in_numpy() -> None:
    p = noisy_predictions().numpy()
    unit = p / np.linalg.norm(p, axis=1, keepdims=True)
    entropies = []
    for i in range(len(p)):
        similarity = np.array([-1.0 if i == j else unit[i] @ unit[j] for j in range(len(p))]) / 0.05
        soft = np.exp(similarity - similarity.max())
        soft /= soft.sum()
        entropies.append(-(soft * np.log(soft)).sum())
    assert soft_neighborhood_density(torch.from_numpy(p)) == pytest.approx(np.mean(entropies), rel=1e-9)


def test_snd_counts_the_neighbours_within_clusters_worked_by_hand() -> None:
    """Two clusters of four confident images: each has three equal neighbours, and four with weights of e^-20."""
    two_clusters = torch.eye(2).repeat_interleave(4, dim=0)
    assert soft_neighborhood_density(two_clusters) == pytest.approx(math.log(3), abs=1e-5)
    one_cluster = torch.tensor([[1.0, 0.0]]).expand(8, 2)
    assert soft_neighborhood_density(one_cluster) == pytest.approx(math.log(7), abs=1e-5)


def test_the_guarded_density_prefers_classes_to_a_collapse_and_to_indecision() -> None:
    sure = noisy_predictions(200, 5, 8.0)
    collapsed, undecided = torch.eye(5)[torch.zeros(200).long()], torch.full((200, 5), 0.2)
    for alike in (collapsed, undecided):
        assert soft_neighborhood_density(alike) > soft_neighborhood_density(sure)  # what the guard is for
        assert guarded_density(alike) < guarded_density(sure)
    two_clusters = torch.eye(2).repeat_interleave(4, dim=0)
    assert guarded_density(two_clusters) == pytest.approx(math.log(3) + GUARD * math.log(2), abs=1e-5)


def test_each_rule_takes_its_own_score(trained: Network) -> None:
    target = bars(60, seed=5)
    predictions = predict(trained, target.images)[0]
    assert of_domains(trained, "guarded_snd", target) == guarded_density(predictions)
    assert of_domains(trained, "snd", target) == soft_neighborhood_density(predictions)
    assert of_domains(trained, "entropy", target) == -mean_entropy(predictions)


def test_entropy_is_log_k_where_nothing_is_known_and_zero_where_all_is_sure() -> None:
    assert mean_entropy(torch.full((5, 4), 0.25)) == pytest.approx(math.log(4))
    assert mean_entropy(torch.eye(4)) == 0.0
    assert mean_entropy(torch.tensor([[0.9, 0.1]])) == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))


def test_the_weighted_risk_uses_the_mean_weight_as_a_control_variate() -> None:
    rng = np.random.default_rng(1)
    weights, losses = rng.exponential(1, 50), rng.exponential(1, 50)
    eta = -np.cov(weights * losses, weights)[0, 1] / np.var(weights, ddof=1)
    expected = (weights * losses).mean() + eta * weights.mean() - eta
    assert weighted_risk(torch.from_numpy(weights), torch.from_numpy(losses)) == pytest.approx(expected)
    # With equal losses the weights do not matter, whatever their mean: the purpose of the control variate.
    assert weighted_risk(torch.from_numpy(weights), torch.full((50,), 0.3)) == pytest.approx(0.3)


@pytest.fixture(scope="module")
def trained() -> Network:
    network = tiny_network(seed=3)
    how = Training(steps=60, batch_size=16, learning_rate=0.02)
    train(network, Scratch(), Domains(bars(90), bars(30, seed=1)), how)
    return network


@pytest.mark.parametrize("rule", ["snd", "entropy"])
def test_sure_and_clustered_predictions_score_higher_than_scattered_ones(rule: str) -> None:
    score = soft_neighborhood_density if rule == "snd" else lambda p: -mean_entropy(p)
    scattered, clustered = (noisy_predictions(200, 5, sharpness) for sharpness in (2.0, 8.0))
    assert score(clustered) > score(scattered)


@pytest.mark.parametrize("rule", ["guarded_snd", "entropy", "dev"])
def test_a_network_that_knows_the_domain_scores_higher_than_a_fresh_one(rule: str, trained: Network) -> None:
    target, source = bars(60, seed=5), bars(120)
    assert of_domains(trained, rule, target, source) > of_domains(tiny_network(seed=3), rule, target, source)


def test_dev_agrees_with_the_papers_steps_in_scikit_learn_and_numpy(trained: Network) -> None:
    source, target = bars(100, noise=120), bars(60, seed=5, noise=90)
    held = held_out(100)
    others = [i for i in range(100) if i not in held.tolist()]
    probabilities, features = (x.double().numpy() for x in predict(trained, source.images))
    of_target = predict(trained, target.images)[1].double().numpy()
    mean, std = features[others].mean(axis=0), features[others].std(axis=0)
    std[std <= 1e-6] = 1.0
    both = (np.concatenate([features[others], of_target]) - mean) / std
    classifier = LogisticRegression(C=1 / (0.01 * len(both)), class_weight="balanced", tol=1e-10, max_iter=10000)
    classifier.fit(both, np.repeat([0, 1], [len(others), 60]))
    weights = np.exp(classifier.decision_function((features[held] - mean) / std))
    losses = -np.log(probabilities[held, source.labels[held]])
    eta = -np.cov(weights * losses, weights)[0, 1] / np.var(weights, ddof=1)
    risk = np.mean(weights * losses) + eta * np.mean(weights) - eta
    assert risk != pytest.approx(losses.mean(), rel=1e-2)
    assert of_domains(trained, "dev", target, source) == pytest.approx(-risk, rel=1e-3)


def test_dev_weighs_the_sources_losses_by_how_much_they_look_like_the_target(trained: Network) -> None:
    """The network is right on 'left' only, so the risk is low if the target is 'left' and high otherwise."""
    source = bars(300)
    wrong = Split(source.images, torch.where(source.labels == 0, 0, 3 - source.labels), CLASSES)
    left = source.take((source.labels == 0).nonzero().flatten())
    others = source.take((source.labels != 0).nonzero().flatten())
    on_left, on_others = (of_domains(trained, "dev", target, wrong) for target in (left, others))
    assert on_left > -0.5
    assert on_others < -1.5


def test_dev_understands_a_source_with_other_classes_in_another_order(trained: Network) -> None:
    source, order = bars(300), torch.tensor([2, 0, 1])
    renamed = Split(source.images, order[source.labels], ("middle", "right", "left"))
    as_it_was, reordered = (of_domains(trained, "dev", bars(60, seed=5), split) for split in (source, renamed))
    assert reordered == pytest.approx(as_it_was)


def test_dev_validates_on_pictures_that_adaptation_never_draws(trained: Network) -> None:
    source = bars(300)
    strategy = Mcc(selection="dev")
    network = strategy.adapt(tiny_network(), CLASSES)
    weights = strategy.source_weights(network, Domains(bars(9), bars(9), source))
    assert weights is not None
    assert torch.equal((weights == 0).nonzero().flatten(), held_out(300))
    assert len(held_out(300)) == 30
    assert Mcc(selection="snd").source_weights(network, Domains(bars(9), bars(9), source)) is None
    with pytest.raises(ValueError, match="'dev' needs source images, and there are none"):
        label_free_score("dev", trained, Domains(bars(9), bars(9)))
    with pytest.raises(ValueError, match="at least 10 images of the target's classes there, but has 9"):
        label_free_score("dev", trained, Domains(bars(9), bars(9), bars(90)))


@pytest.mark.parametrize("rule", ["guarded_snd", "entropy", "dev", "last"])
def test_the_weights_of_the_best_score_are_kept_by_the_rule_of_the_knob(rule: Any, trained: Network) -> None:
    """Strong label smoothing makes a confident network uncertain, so that its scores fall."""
    strategy = Mcc(selection=rule, weight=0.0)
    network = strategy.adapt(copy.deepcopy(trained), CLASSES)
    how = Training(steps=12, batch_size=16, learning_rate=0.02, label_smoothing=0.9, evaluations=3)
    fit = train(network, strategy, Domains(bars(30, seed=5), bars(9, seed=6), bars(120)), how)
    assert fit.selected_step == (12 if rule == "last" else 4)
    if rule != "last":
        assert fit.selected.label_free == max(cast(float, point.label_free) for point in fit.curve)


def test_a_score_looks_at_no_more_than_some_evenly_spread_pictures(trained: Network) -> None:
    half = MOST_PICTURES
    many = Split(bars(3).images.repeat_interleave(half, dim=0)[: 2 * half], torch.zeros(2 * half).long(), CLASSES)
    few = Split(many.images[::2], many.labels[::2], CLASSES)
    assert of_domains(trained, "snd", many) == of_domains(trained, "snd", few)


def test_other_rules_have_no_label_free_score(trained: Network) -> None:
    assert all(
        label_free_score(rule, trained, Domains(bars(9), bars(9))) is None for rule in ("last", "best_validation")
    )


def test_scores_do_not_depend_on_labels_and_leave_the_network_as_it_was(trained: Network) -> None:
    before = [value.clone() for value in trained.state_dict().values()]
    first = [of_domains(trained, rule, bars(30), bars(120)) for rule in ("guarded_snd", "snd", "entropy", "dev")]
    assert first == [
        of_domains(trained, rule, bars(30), bars(120)) for rule in ("guarded_snd", "snd", "entropy", "dev")
    ]
    assert all(torch.equal(a, b) for a, b in zip(before, trained.state_dict().values(), strict=True))
    assert predict(trained, bars(3).images)[0].shape == (3, 3)
