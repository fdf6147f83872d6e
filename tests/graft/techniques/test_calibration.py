import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from graft.techniques.calibration import fit_temperature


def logits_and_labels(size: float, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits that usually favour the label."""
    noise = np.random.default_rng(seed)
    labels = noise.integers(classes, size=200)
    logits = noise.normal(size=(200, classes))
    logits[np.arange(200), labels] += 1.5
    return size * logits, labels


@pytest.mark.parametrize("size", [0.01, 1.0, 50.0])
@pytest.mark.parametrize("classes", [2, 7])
def test_the_temperature_is_the_one_of_scipys_minimum(size: float, classes: int) -> None:
    logits, labels = logits_and_labels(size, classes, seed=classes)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(-log_softmax(scaled, axis=1)[np.arange(len(labels)), labels].mean())

    found = fit_temperature(torch.from_numpy(logits).float(), torch.from_numpy(labels))
    best = minimize_scalar(loss, bounds=(-12, 12), method="bounded", options={"xatol": 1e-9})
    assert found == pytest.approx(np.exp(best.x), rel=1e-4)


def test_logits_twice_as_large_want_twice_the_temperature_and_a_common_term_none() -> None:
    logits, labels = (torch.from_numpy(values) for values in logits_and_labels(1.0, 5, seed=0))
    plain = fit_temperature(logits, labels)
    assert plain is not None
    assert fit_temperature(2 * logits, labels) == pytest.approx(2 * plain)
    assert fit_temperature(logits + 1000 * torch.arange(200)[:, None], labels) == pytest.approx(plain)


@pytest.mark.parametrize("labels", [[0, 1, 2], [1, 2, 0]])
def test_there_is_none_where_every_picture_is_right_or_none_is(labels: list[int]) -> None:
    assert fit_temperature(3 * torch.eye(3), torch.tensor(labels)) is None
