import copy

import pytest
import torch

from graft.data.split import Domains
from graft.loop import Kept, train
from graft.networks.batch_norm import batch_norms
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies.fine_tune import FineTune
from graft.strategies.joint_probe import JointProbe
from graft.strategies.linear_probe import LinearProbe
from graft.strategies.lp_ft import WISE, LpFt
from graft.strategies.scratch import Scratch
from tests.graft.pictures import CLASSES, bars, tiny_network

BRIEF = Training(steps=12, batch_size=9, learning_rate=0.02, evaluations=2)


@pytest.fixture(scope="module")
def source() -> Network:
    network = tiny_network(seed=3)
    train(network, Scratch(), Domains(bars(90), bars(30, seed=1)), BRIEF)
    return network


@pytest.fixture
def domains() -> Domains:
    return Domains(bars(18, seed=5, noise=120), bars(30, seed=6, noise=120))


def run(source: Network, domains: Domains, keep: Kept | None = None, **knobs: object):
    strategy = LpFt(**knobs)  # type: ignore[arg-type]
    network = strategy.adapt(copy.deepcopy(source), CLASSES)
    return network, train(network, strategy, domains, BRIEF, keep=keep)


def test_it_starts_at_the_probe(source: Network, domains: Domains) -> None:
    probe = LinearProbe().adapt(copy.deepcopy(source), CLASSES)
    train(probe, LinearProbe(), domains, BRIEF)
    began = LpFt().adapt(copy.deepcopy(source), CLASSES)
    LpFt().begin(began, domains)
    assert domains.validation is not None
    torch.testing.assert_close(
        predict(began, domains.validation.images)[0], predict(probe, domains.validation.images)[0], atol=0.02, rtol=0
    )


def test_the_folds_may_choose_an_average_of_start_and_end(source: Network, domains: Domains) -> None:
    start = LpFt().adapt(copy.deepcopy(source), CLASSES)
    LpFt().begin(start, domains)
    tuned, found = run(source, domains, Kept(BRIEF.steps))
    assert not found.answers
    _, found = run(source, domains)
    assert [kept.choice for kept in found.answers if kept.step == BRIEF.steps] == ["", *(f"{x:g} tuned" for x in WISE)]
    for share in WISE:
        average, _ = run(source, domains, Kept(BRIEF.steps, f"{share:g} tuned"))
        for name, value in average.own_state().items():
            if value.is_floating_point():
                expected = torch.lerp(start.own_state()[name], tuned.own_state()[name], share)
                torch.testing.assert_close(value, expected, msg=name)


def test_without_wise_nothing_is_averaged(source: Network, domains: Domains) -> None:
    network, found = run(source, domains, wise=False)
    assert {kept.choice for kept in found.answers} == {""}
    assert "start" not in network.extras


def test_the_finished_network_holds_nothing_that_training_needed(source: Network, domains: Domains) -> None:
    network, _ = run(source, domains)
    assert list(LpFt().finish(network).state_dict()) == list(source.state_dict())


def test_the_probe_learns_from_source_images_too(source: Network) -> None:
    target, images = bars(3, seed=5, noise=120), bars(60, seed=7, noise=120)
    seen = Domains(target, bars(30, seed=6, noise=120), images)
    joint = JointProbe().adapt(copy.deepcopy(source), CLASSES)
    train(joint, JointProbe(), seen, BRIEF)
    heads = {}
    for learns in (True, False):
        strategy = LpFt(source=learns, wise=False, rate=1e-9)
        network = strategy.adapt(copy.deepcopy(source), CLASSES)
        train(network, strategy, seen, BRIEF)
        heads[learns] = network.head.weight
    torch.testing.assert_close(heads[True], joint.head.weight, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(heads[False], joint.head.weight, atol=1e-2)


@pytest.mark.parametrize(
    ("how", "size", "keeps"), [("frozen", 32, True), ("train", 9, False), ("auto", 31, True), ("auto", 32, False)]
)
def test_batch_norm_keeps_the_statistics_of_the_source_if_asked_or_if_batches_are_small(
    source: Network, domains: Domains, how: str, size: int, keeps: bool
) -> None:
    network = FineTune().adapt(copy.deepcopy(source), CLASSES)
    before = [layer.running_mean.clone() for layer in batch_norms(network.backbone)]
    training = Training(steps=4, batch_size=size, evaluations=1, batch_norm=how)  # type: ignore[arg-type]
    train(network, FineTune(), domains, training)
    after = [layer.running_mean for layer in batch_norms(network.backbone)]
    assert len(before) > 0
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True)) == keeps


def test_a_new_network_has_no_statistics_to_keep(domains: Domains) -> None:
    network = Scratch().adapt(tiny_network(), CLASSES)
    train(network, Scratch(), domains, Training(steps=4, batch_size=9, evaluations=1, batch_norm="frozen"))
    assert all(layer.running_mean.count_nonzero() for layer in batch_norms(network.backbone))
