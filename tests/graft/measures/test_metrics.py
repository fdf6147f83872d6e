"""Scores compared with scikit-learn, torchmetrics and hand-computed cases."""

import pytest
import sklearn.metrics
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from graft.measures.metrics import reliability, score


@pytest.fixture
def noisy() -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (300, 5) that lean towards the right class, and labels of uneven frequency."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(25, (300,), generator=generator).sqrt().floor().long()
    logits = torch.randn(300, 5, generator=generator)
    logits[torch.arange(300), labels] += 1
    return logits.softmax(dim=1), labels


def test_scores_are_those_of_scikit_learn(noisy) -> None:
    probabilities, labels = noisy
    predictions = probabilities.argmax(dim=1)
    found = score(probabilities, labels)
    assert found.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, predictions))
    assert found.balanced_accuracy == pytest.approx(sklearn.metrics.balanced_accuracy_score(labels, predictions))
    assert found.macro_f1 == pytest.approx(sklearn.metrics.f1_score(labels, predictions, average="macro"), abs=1e-6)
    assert found.nll == pytest.approx(sklearn.metrics.log_loss(labels, probabilities.double()), abs=1e-6)
    assert found.per_class_recall == pytest.approx(sklearn.metrics.recall_score(labels, predictions, average=None))
    assert found.confusion == tuple(map(tuple, sklearn.metrics.confusion_matrix(labels, predictions).tolist()))


def test_calibration_error_is_that_of_torchmetrics(noisy) -> None:
    probabilities, labels = noisy
    expected = multiclass_calibration_error(probabilities, labels, num_classes=5, n_bins=15, norm="l1")
    assert score(probabilities, labels).calibration_error == pytest.approx(expected.item(), abs=1e-6)


def test_calibration_worked_by_hand() -> None:
    # Two images of confidence 0.9, one right: |0.9 - 0.5|; two of confidence 1, both right: 0; total 0.4 * 2 / 4.
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [1.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 0, 1])
    bins = reliability(probabilities, labels)
    assert bins.counts.tolist() == [0] * 13 + [2, 2]
    assert bins.accuracy[13] == 0.5
    assert bins.error() == pytest.approx(0.2)


def test_absent_classes() -> None:
    # No image has class 2, but it is predicted once; class 3 is neither: recall 1, 1/2, absent, absent.
    probabilities = torch.eye(4)[[0, 1, 2]]
    found = score(probabilities, torch.tensor([0, 1, 1]))
    assert found.per_class_recall == (1.0, 0.5, None, None)
    assert found.balanced_accuracy == 0.75
    # F1 of classes 0, 1, 2 is 1, 2/3, 0; class 3 does not count.
    assert found.macro_f1 == pytest.approx(5 / 9)
    assert found.confusion[1] == (0, 1, 1, 0)


def test_certainty_that_was_wrong_costs_much_but_not_everything() -> None:
    assert score(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).nll == pytest.approx(27.63, abs=0.01)


def test_probabilities_a_hair_above_one_are_no_logits() -> None:
    # torchmetrics treats values above 1 as logits and applies a softmax.
    found = score(torch.tensor([[1.0000001, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    assert found.calibration_error < 1e-6


@pytest.mark.parametrize(
    ("probabilities", "labels", "complaint"),
    [
        (torch.ones(3), torch.zeros(3, dtype=torch.long), "probabilities"),
        (torch.full((3, 2), 0.5), torch.zeros(2, dtype=torch.long), "labels"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), "at least one"),
        (torch.full((1, 2), 0.5), torch.tensor([2]), r"0\.\.1"),
        (torch.tensor([[2.0, -1.0]]), torch.tensor([0]), "non-negative"),
        (torch.tensor([[3.0, 1.0]]), torch.tensor([0]), "add up to 1"),
        (torch.tensor([[float("nan"), 1.0]]), torch.tensor([0]), "add up to 1"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities, labels, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        score(probabilities, labels)
