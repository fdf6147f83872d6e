import copy
from dataclasses import replace

import pytest
import torch

from graft.data.split import Domains, Split
from graft.loop import Kept, train
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies.linear_probe import LinearProbe
from graft.strategies.self_training import SelfTraining, balanced, estimated_shares, surest
from tests.graft.features import clouds
from tests.graft.pictures import CLASSES, tiny_network

TRAINING = Training(steps=1, evaluations=1)


def fitted(strategy, domains: Domains) -> Network:
    network = strategy.adapt(tiny_network(), CLASSES)
    train(network, strategy, domains, TRAINING, keep=Kept(0))
    return network


def accuracy(network: Network, test: Split) -> float:
    return (predict(network, test.images)[0].argmax(dim=1) == test.labels).double().mean().item()


def test_unlabelled_images_of_clusters_make_up_for_few_labels() -> None:
    test = clouds([300] * 3, seed=5)
    gains = []
    for seed in range(5):
        domains = Domains(clouds([2] * 3, seed=seed), None, None, clouds([100] * 3, seed=50 + seed).without_labels())
        gains.append(accuracy(fitted(SelfTraining(), domains), test) - accuracy(fitted(LinearProbe(), domains), test))
    assert sum(gains) / 5 > 0.03


def test_source_images_are_learned_from_unless_they_are_unwanted_or_missing() -> None:
    """They have the classes in another order, and one that the target lacks."""
    source = clouds([60] * 3, seed=3)
    order = torch.tensor([2, 0, 3])
    other = Split(source.images, order[source.labels], (CLASSES[1], "other", CLASSES[0], CLASSES[2]))
    test, few = clouds([300] * 3, seed=5), clouds([1] * 3, seed=1)
    pool = clouds([50] * 3, seed=6).without_labels()
    alone = fitted(SelfTraining(), Domains(few, None, None, pool))
    helped = fitted(SelfTraining(), Domains(few, None, other, pool))
    unwanted = fitted(SelfTraining(source=False), Domains(few, None, other, pool))
    assert accuracy(helped, test) > accuracy(alone, test)
    assert torch.equal(unwanted.head.weight, alone.head.weight)


def test_balanced_answers_have_the_shares_and_differ_by_factors_only() -> None:
    probabilities = torch.rand(60, 3, generator=torch.Generator().manual_seed(0)).double()
    probabilities /= probabilities.sum(dim=1, keepdim=True)
    shares = torch.tensor([0.5, 0.3, 0.2]).double()
    found = balanced(probabilities, shares)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(60).double())
    torch.testing.assert_close(found.mean(dim=0), shares, atol=1e-6, rtol=0)
    factors = (found / probabilities).log()  # of an image plus of a class: nothing else is Sinkhorn's solution
    rest = factors - factors.mean(dim=1, keepdim=True) - factors.mean(dim=0) + factors.mean()
    assert rest.abs().max() < 1e-6


def test_the_surest_of_each_class_are_chosen() -> None:
    answers = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6]])
    assert surest(answers, 1 / 3).tolist() == [0, 3]
    assert surest(answers, 2 / 3).tolist() == [0, 2, 3, 4]
    assert surest(answers, 1.0).tolist() == [0, 1, 2, 3, 4]


def test_shares_are_estimated_within_five_points_at_ten_to_one() -> None:
    few, pool = clouds([20] * 3, seed=0), clouds([500, 100, 50], seed=1)
    probabilities, _ = predict(fitted(LinearProbe(), Domains(few)), pool.images)
    found = estimated_shares(probabilities, torch.full((3,), 1 / 3))
    assert (found - torch.tensor([500, 100, 50]) / 650).abs().max() < 0.05


def test_equal_shares_hurt_where_classes_are_not_and_estimated_ones_do_not() -> None:
    few, pool, test = clouds([5] * 3, seed=0), clouds([500, 50, 50], seed=1), clouds([500, 50, 50], seed=2)
    domains = Domains(few, None, None, pool.without_labels())
    equal, estimated = (accuracy(fitted(SelfTraining(shares=how), domains), test) for how in ("equal", "estimated"))
    assert estimated > equal + 0.05


def test_the_labels_of_the_pool_are_never_read() -> None:
    few, pool = clouds([2] * 3, seed=0), clouds([30] * 3, seed=1)
    wrong = replace(pool, labels=pool.labels.flip(0))
    first, second = (fitted(SelfTraining(), Domains(few, None, None, split)) for split in (pool, wrong))
    assert torch.equal(first.head.weight, second.head.weight)


@pytest.mark.parametrize("rounds", [1, 4])
def test_it_is_the_same_every_time(rounds: int) -> None:
    domains = Domains(clouds([2] * 3, seed=0), None, None, clouds([30] * 3, seed=1).without_labels())
    first, second = (fitted(SelfTraining(rounds=rounds), copy.deepcopy(domains)) for _ in range(2))
    assert torch.equal(first.head.weight, second.head.weight)


def test_the_folds_may_leave_the_pool_out_or_estimate_its_shares() -> None:
    strategy, few = SelfTraining(), clouds([8] * 3, seed=0)
    unlike = clouds([5, 5, 300], seed=1).without_labels()
    names = {"", "without the pool", "estimated shares"}
    network = strategy.adapt(tiny_network(), CLASSES)
    fit = train(network, strategy, Domains(few, clouds([20] * 3, seed=2), None, unlike), TRAINING)
    assert {kept.choice for kept in fit.answers} == names
    heads = {}
    for choice in names:
        network = strategy.adapt(tiny_network(), CLASSES)
        train(network, strategy, Domains(few, None, None, unlike), TRAINING, keep=Kept(0, choice))
        heads[choice] = strategy.finish(network).head.weight
    alone = fitted(LinearProbe(related=False), Domains(few)).head.weight
    torch.testing.assert_close(heads["without the pool"], alone, atol=0.02, rtol=0.02)
    torch.testing.assert_close(
        heads["estimated shares"],
        fitted(SelfTraining(shares="estimated"), Domains(few, None, None, unlike)).head.weight,
    )
    assert not torch.allclose(heads[""], heads["estimated shares"], atol=0.01)
