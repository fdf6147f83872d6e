from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from graft.contract import Strategy
from graft.cross_validation import cross_validation
from graft.data.split import Domains
from graft.loop import Fit, Kept, train
from graft.networks.network import Network, predict
from graft.settings import Training
from graft.strategies.scratch import Scratch
from graft.training.selection import Evaluation
from tests.graft.pictures import CLASSES, bars, tiny_network

LABELS = torch.tensor([0, 0, 1, 1])
HELD = [torch.tensor([0, 3]), torch.tensor([1, 2])]
BRIEF = Training(steps=6, batch_size=9, learning_rate=0.02, evaluations=3)


def fit(answers: dict[Kept, list[float]]) -> Fit:
    """A fold whose networks give its two images these probabilities of class 1."""
    said = {kept: torch.tensor([[1 - p, p] for p in found]) for kept, found in answers.items()}
    curve = [Evaluation(kept.step, 0.1, kept.step / 10, 1.0, found[0]) for kept, found in answers.items()]
    return Fit(curve=tuple(curve), answers=said)


def test_the_folds_choose_together() -> None:
    """Each fold alone would keep another step; pooled, step 2 has the lowest loss."""
    fits = [
        fit({Kept(1): [0.01, 0.99], Kept(2): [0.2, 0.9]}),
        fit({Kept(1): [0.9, 0.2], Kept(2): [0.1, 0.8]}),
    ]
    found = cross_validation(fits, HELD, LABELS, "best_validation")
    assert found.kept == Kept(2)
    assert found.held.tolist() == [0, 1, 2, 3]
    assert found.labels.tolist() == LABELS.tolist()
    torch.testing.assert_close(found.probabilities[:, 1], torch.tensor([0.2, 0.1, 0.8, 0.9]))
    assert found.loss == pytest.approx(F.nll_loss(found.probabilities.log(), LABELS).item())
    assert [(point.step, point.val_accuracy) for point in found.curve] == [(1, 0.455), (2, pytest.approx(0.15))]


def test_of_equals_the_earliest_is_kept_and_last_keeps_the_last() -> None:
    fits = [fit({Kept(1): [0.2, 0.8], Kept(2): [0.2, 0.8]}), fit({Kept(1): [0.2, 0.8], Kept(2): [0.2, 0.8]})]
    assert cross_validation(fits, HELD, LABELS, "best_validation").kept == Kept(1)
    assert cross_validation(fits, HELD, LABELS, "last").kept == Kept(2)


class Doubled(Scratch):
    """Offers its network with a head of twice the weights."""

    def choices(self, network: Network):
        def put_in_place() -> None:
            network.head.weight.data *= 2

        return {"doubled": put_in_place}


@pytest.fixture
def domains() -> Domains:
    return Domains(bars(18), bars(9, seed=1))


def trained(strategy: Strategy, domains: Domains, keep: Kept | None = None) -> tuple[Network, Fit]:
    torch.manual_seed(0)
    network = strategy.adapt(tiny_network(), CLASSES)
    return network, train(network, strategy, domains, BRIEF, seed=3, keep=keep)


def test_every_network_that_could_be_kept_answers(domains: Domains) -> None:
    _, found = trained(Doubled(), domains)
    assert list(found.answers) == [Kept(2), Kept(4), Kept(6), Kept(6, "doubled")]
    assert not torch.equal(found.answers[Kept(6)], found.answers[Kept(6, "doubled")])


@pytest.mark.parametrize("keep", [Kept(4), Kept(6), Kept(6, "doubled")])
def test_a_run_without_validation_keeps_what_was_chosen(domains: Domains, keep: Kept) -> None:
    """The same images: so it gives the answers that the run with validation gave for that choice."""
    _, chosen = trained(Doubled(), domains)
    network, found = trained(Doubled(), replace(domains, validation=None), keep)
    assert domains.validation is not None
    assert torch.equal(predict(network, domains.validation.images)[0], chosen.answers[keep])
    assert found.selected_step == keep.step
    assert not found.curve


def test_without_validation_something_has_to_say_what_is_kept(domains: Domains) -> None:
    with pytest.raises(ValueError, match="`keep` has to say which network is kept"):
        trained(Scratch(), replace(domains, validation=None))


class Peeking(Scratch):
    """Looks at the labels of the validation images."""

    def begin(self, network: Network, domains: Domains) -> None:
        assert domains.validation is not None
        assert set(domains.validation.labels.tolist()) == {-1}


def test_no_strategy_sees_the_labels_that_choose(domains: Domains) -> None:
    trained(Peeking(), domains)
