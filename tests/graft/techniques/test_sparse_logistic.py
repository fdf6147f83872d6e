import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from graft.techniques.sparse_logistic import SparseRows, sparse_logistic_regressions


def some(seed: int = 0, n: int = 50, d: int = 30) -> tuple[Tensor, Tensor]:
    """Features, of which most are zero and one row is all zero, and labels of three classes."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.rand(n, d, generator=generator) * (torch.rand(n, d, generator=generator) < 0.2)
    dense[3] = 0
    return dense, (dense @ torch.randn(d, 3, generator=generator)).argmax(dim=1)


def sparse(dense: Tensor) -> SparseRows:
    rows, columns = dense.nonzero(as_tuple=True)
    return SparseRows.of(rows, columns, dense[rows, columns], (len(dense), dense.shape[1]))


def test_products_are_those_of_the_dense_matrix() -> None:
    dense, _ = some()
    found, right, left = sparse(dense), torch.randn(30, 4), torch.randn(50, 4)
    assert found.shape == (50, 30)
    torch.testing.assert_close(found.times(right), dense @ right)
    torch.testing.assert_close(found.transposed_times(left), dense.T @ left)


@pytest.mark.parametrize("strength", [0.1, 1e-2, 1e-3])
def test_every_fit_is_at_scikit_learns_optimum(strength: float) -> None:
    dense, labels = some()
    shares = torch.stack([torch.ones(50), torch.arange(50) % 3 + 0.5, (torch.arange(50) % 5 > 0).float()])
    weights, biases = sparse_logistic_regressions(
        sparse(dense), labels, 3, decay=strength, shares=shares, tolerance=1e-7
    )
    for weight, bias, share in zip(weights, biases, shares, strict=True):
        best = LogisticRegression(C=1 / (strength * share.sum().item()), tol=1e-10, max_iter=10_000)
        best.fit(dense.double().numpy(), labels.numpy(), sample_weight=share.double().numpy())
        ours = (dense @ weight.T + bias).softmax(dim=1).numpy()
        np.testing.assert_allclose(ours, best.predict_proba(dense.numpy()), atol=2e-3)


def test_a_start_elsewhere_ends_at_the_same_optimum() -> None:
    dense, labels = some()
    how = {"decay": 1e-2, "shares": torch.ones(1, 50), "tolerance": 1e-7}
    first = sparse_logistic_regressions(sparse(dense), labels, 3, **how)
    start = sparse_logistic_regressions(sparse(dense), labels, 3, **(how | {"decay": 1.0}))
    again = sparse_logistic_regressions(sparse(dense), labels, 3, **how, start=start)
    torch.testing.assert_close(first[0], again[0], atol=1e-3, rtol=1e-2)
