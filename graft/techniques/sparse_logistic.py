"""Logistic regression on sparse features, of which a text has hundreds among a hundred thousand.

Legend: N texts, D features, M columns of a dense matrix, P values that are not zero, F fits at once, K classes.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

_REMEMBERED = 6
"""Steps that L-BFGS remembers, each as large as all weights."""


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix (N, D), kept by rows and by columns, so that products with it and with its transpose are sums in
    a fixed order, on every device.

    Attributes:
        by_row, by_column: the column, or row, of each value (P,); where each row (N,), or column (D,), starts; and the
            values (P,).
    """

    by_row: tuple[Tensor, Tensor, Tensor]
    by_column: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def of(cls, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> "SparseRows":
        """The matrix of `shape` with `values` (P,) at `rows` and `columns`, which are in the order of the rows."""
        order = torch.argsort(columns, stable=True)
        return cls(
            (columns, _starts(rows, shape[0]), values),
            (rows[order], _starts(columns[order], shape[1]), values[order]),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self.by_row[1]), len(self.by_column[1])

    def times(self, right: Tensor) -> Tensor:
        """The product with a matrix (D, M): (N, M)."""
        return _bags(right, *self.by_row)

    def transposed_times(self, right: Tensor) -> Tensor:
        """The product of the transpose with a matrix (N, M): (D, M)."""
        return _bags(right, *self.by_column)


def _starts(sorted_places: Tensor, count: int) -> Tensor:
    return torch.searchsorted(sorted_places, torch.arange(count, device=sorted_places.device))


def _bags(right: Tensor, places: Tensor, starts: Tensor, values: Tensor) -> Tensor:
    return F.embedding_bag(places, right, starts, mode="sum", per_sample_weights=values.to(right))


def sparse_logistic_regressions(
    x: SparseRows,
    labels: Tensor,
    classes: int,
    *,
    decay: float,
    shares: Tensor,
    start: tuple[Tensor, Tensor] | None = None,
    tolerance: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """Several layers at once, on the same texts with other weights: weights (F, K, D) and biases (F, K).

    Each minimises the weighted mean cross-entropy + decay / 2 |W|^2, as `graft.techniques.logistic` does with dense
    features.

    Args:
        x: (N, D); the fit is in the precision of its values.
        labels: (N,).
        classes: K.
        decay: strength of the regularisation, above zero; the biases are not regularised.
        shares: (F, N), the weight of each text for each layer; 0 leaves it out.
        start: initial weights and biases instead of zero.
        tolerance: the fit ends when no component of the gradient is larger.
    """
    values, count = x.by_row[2], len(shares)
    share = (shares.to(values) / shares.to(values).sum(dim=1, keepdim=True)).T[..., None]  # (N, F, 1)
    wanted = F.one_hot(labels, classes).to(values)[:, None]  # (N, 1, K)
    weight = start[0].permute(2, 0, 1).contiguous() if start else values.new_zeros(x.shape[1], count, classes)
    bias = start[1].clone() if start else values.new_zeros(count, classes)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=200,
        tolerance_grad=tolerance,
        tolerance_change=1e-9,
        history_size=_REMEMBERED,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        logits = x.times(weight.flatten(1)).view(-1, count, classes) + bias
        log_p = logits.log_softmax(dim=2)
        away = share * (log_p.exp() - wanted)
        weight.grad = x.transposed_times(away.flatten(1)).view_as(weight).add_(weight, alpha=decay)
        bias.grad = away.sum(dim=0)
        fit = -(share * wanted * log_p).sum()
        return cast(float, (fit + decay / 2 * weight.square().sum()).item())

    with torch.no_grad():
        optimiser.step(closure)
    weight.grad = bias.grad = None
    return weight.permute(1, 2, 0), bias
