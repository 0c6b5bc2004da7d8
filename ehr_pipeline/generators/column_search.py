"""The weights of one column of a log-linear chain that noisy counts make the most probable.

What belongs here: measurements, the loss, its gradient, the search. What does not: the chain (`loglinear_chain.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from ehr_pipeline.generators.coarse_columns import Clique, Grains

MOST_ITERATIONS = 60
"""Of the search (L-BFGS, Liu and Nocedal 1989)."""
TOLERANCE = 1e-5
"""The search ends when a step gains less than this share of the loss."""
LEVEL_PRECISION = 1e-2
"""Of the prior of intercepts, wide: it holds their common level, which nothing else does."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """Noisy counts of a clique.

    Attributes
    ----------
    clique
        Its columns.
    counts
        float64 of shape (n_cells,): over the bins of its columns, the last column running fastest.
    expected
        float64 of shape (n_cells,): what the counts would be if the columns were independent.
    noise
        Standard deviation of the noise in each count.
    """

    clique: Clique
    counts: np.ndarray
    expected: np.ndarray
    noise: float

    @property
    def variance(self) -> np.ndarray:
        """float64 of shape (n_cells,): of noise, and of the sample of patients, in each cell."""
        return self.noise**2 + np.maximum(self.expected, 1.0)


class ColumnSearch:
    """The loss of one column's weights: squared misfit of its measurements in units of their variance, and the prior.

    With P the probabilities of the column's levels in each row, G which row is in which cell of a clique's other
    columns, and C which level is in which bin, the model's counts are n / n_rows * G' P C.
    """

    def __init__(
        self,
        grains: Grains,
        measured: list[Measurement],
        rows: np.ndarray,
        *,
        shares: np.ndarray,
        intercepts: np.ndarray,
        n: float,
        scales: Mapping[Clique, float],
    ) -> None:
        k = measured[0].clique[-1]
        self.bins = grains.columns[2][k].bins
        self.n_bins = grains.columns[2][k].n_bins
        self.counts = n * np.bincount(self.bins, weights=shares)
        self.intercepts = intercepts
        self.scale = n / len(rows)
        sizes = sorted({len(one.clique) for one in measured})
        self.groups = [
            _Group(grains, [one for one in measured if len(one.clique) == size], rows, scales) for size in sizes
        ]

    def most_probable(self, start: Mapping[Clique, np.ndarray]) -> tuple[dict[Clique, np.ndarray], np.ndarray]:
        """Weights of each clique, (n_features of the others, n_features of the column), and the column's intercepts.

        The search starts from `start`, and from 0 where that has nothing.
        """
        parts = [np.zeros(self.n_bins)]
        for group in self.groups:
            parts += [start.get(clique, np.zeros(shape)).ravel() for clique, shape in group.shapes.items()]
        options = {"maxiter": MOST_ITERATIONS, "maxcor": 20, "ftol": TOLERANCE}
        x = minimize(self.loss, np.concatenate(parts), jac=True, method="L-BFGS-B", options=options).x
        weights, at = {}, self.n_bins
        for group in self.groups:
            for clique, shape in group.shapes.items():
                weights[clique] = x[at : at + shape[0] * shape[1]].reshape(shape).copy()
                at += shape[0] * shape[1]
        return weights, self.intercepts + x[: self.n_bins][self.bins]

    def loss(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and its gradient at `x`: offsets of the intercepts of each bin, then all weights."""
        offsets, at = x[: self.n_bins], self.n_bins
        logits = (self.intercepts + offsets[self.bins]).astype(np.float32)
        matrices = []
        for group in self.groups:
            n_read, n_last = group.read.shape[1], group.last.shape[1]
            matrices.append(x[at : at + n_read * n_last].reshape(n_read, n_last))
            logits = logits + group.read @ (matrices[-1] @ group.last.T).astype(np.float32)
            at += n_read * n_last
        p = softmax(logits)
        # The column's own shares are as good as known: only the sample of patients is between them and the model.
        missed = self.scale * np.bincount(self.bins, weights=p.sum(axis=0)) - self.counts
        residual = missed / (self.counts + 1)
        value = 0.5 * float(residual @ missed) + 0.5 * LEVEL_PRECISION * float(offsets @ offsets)
        slope = np.broadcast_to((self.scale * residual[self.bins]).astype(np.float32), p.shape).copy()
        for group, matrix in zip(self.groups, matrices, strict=True):
            missed = self.scale * (group.cells.T @ (p @ group.to_bins)) - group.counts
            residual = missed / group.variance
            value += 0.5 * float((residual * missed).sum()) + 0.5 * float((group.precision * matrix**2).sum())
            slope += (self.scale * (group.cells @ residual.astype(np.float32)))[:, group.bins]
        slope -= (p * slope).sum(axis=1, keepdims=True)
        slope *= p
        gradient = [np.bincount(self.bins, weights=slope.sum(axis=0)) + LEVEL_PRECISION * offsets]
        for group, matrix in zip(self.groups, matrices, strict=True):
            gradient.append(((group.read.T @ slope) @ group.last + group.precision * matrix).ravel())
        return value, np.concatenate(gradient)


class _Group:
    """All measurements of one column with cliques of one size: they share the column's bins and features.

    Attributes
    ----------
    read
        float32 of shape (n_rows, n_features): of the cliques' other columns, clique after clique.
    cells
        float32 of shape (n_rows, n_cells): which row is in which cell of the other columns, likewise.
    counts, variance
        float64 of shape (n_cells, n_bins).
    precision
        float64 of shape (n_features, 1): of the prior of the weights.
    shapes
        Cliques to the shapes of their weights.
    """

    def __init__(
        self, grains: Grains, measured: list[Measurement], rows: np.ndarray, scales: Mapping[Clique, float]
    ) -> None:
        column = grains.of(measured[0].clique)[measured[0].clique[-1]]
        self.last, self.bins = column.features, column.bins
        self.to_bins = np.eye(column.n_bins, dtype=np.float32)[column.bins]
        reads = [grains.features(one.clique, rows) for one in measured]
        self.read = np.concatenate(reads, axis=1)
        self.shapes = {
            one.clique: (read.shape[1], self.last.shape[1]) for one, read in zip(measured, reads, strict=True)
        }
        self.precision = np.concatenate(
            [np.full((n_read, 1), 1 / scales[clique] ** 2) for clique, (n_read, _) in self.shapes.items()]
        )
        cells = []
        for one in measured:
            n_others = grains.n_cells(one.clique) // column.n_bins
            cells.append(np.eye(n_others, dtype=np.float32)[grains.cells(one.clique, rows) // column.n_bins])
        self.cells = np.concatenate(cells, axis=1)
        self.counts = np.concatenate([one.counts.reshape(-1, column.n_bins) for one in measured])
        self.variance = np.concatenate([one.variance.reshape(-1, column.n_bins) for one in measured])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of probabilities, in place."""
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits
