"""Pearson correlations over the rows where both columns are present, for a table and its bootstrap replicates.

What belongs here: the arithmetic. What does not: which columns are correlated, and how two tables differ
(`dependence.py`).

All sums add up over blocks of patients, so that a replicate is a weighted sum of what one pass over the rows gave.
Only the sum of products needs every pair of columns: where neither column has gaps the other four sums of a pair are
those of its columns alone. Memory: one copy of the columns, and `CHUNK_NUMBERS` float64 for each of a few sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from ehr_pipeline.evaluate.intervals import Resampling

CHUNK_NUMBERS = 4_000_000


def pairwise_correlation(x: np.ndarray) -> np.ndarray:
    """Pearson correlations [p, p] of x [n, p] over the rows where both are present.

    0 where a pair is undefined: a constant column, or no row in common.
    """
    chunks = [found[0] for _, found in correlation_chunks(x, Resampling(np.arange(len(x)), None))]
    return np.vstack(chunks) if chunks else np.empty((0, 0))


def correlation_chunks(x: np.ndarray, resampling: Resampling) -> Iterator[tuple[int, np.ndarray]]:
    """Correlation matrices, a few of their rows at a time: (first row, [1 + n_replicates, rows, p])."""
    sums = _Sums(x, resampling)
    n_columns = x.shape[1]
    step = max(1, CHUNK_NUMBERS // (max(n_columns, 1) * max(resampling.n_blocks, len(resampling.weights))))
    for first in range(0, n_columns, step):
        n, (sum_a, sum_b), (square_a, square_b), product = sums.of(slice(first, min(first + step, n_columns)))
        variance_a, variance_b = n * square_a - sum_a**2, n * square_b - sum_b**2
        varies = (variance_a > 1e-9 * n**2) & (variance_b > 1e-9 * n**2)
        scale = np.sqrt(np.where(varies, variance_a * variance_b, 1))
        yield first, np.where(varies, (n * product - sum_a * sum_b) / scale, 0)


class _Sums:
    """The sums that correlations are made of, over rows where both columns are present.

    Attributes
    ----------
    standard
        float64 [n, p]: the columns with mean 0 and variance 1, missing at 0, rows sorted by block.
    gaps, present
        Numbers [g] of the columns with missing values, and where they are present, float64 [n, g].
    alone
        Per column its rows, sum and sum of squares, each [1 + n_replicates, p].
    """

    def __init__(self, x: np.ndarray, resampling: Resampling) -> None:
        is_present = ~np.isnan(x)
        self.gaps = np.flatnonzero(~is_present.all(axis=0))
        standard = _standardised(x)
        n = np.repeat(resampling.n_rows().astype(float), x.shape[1], axis=1)
        n[:, self.gaps] = resampling.sums(is_present[:, self.gaps].astype(float))
        self.alone = (n, resampling.sums(standard), resampling.sums(standard**2))
        order = np.argsort(resampling.block, kind="stable")
        bounds = np.searchsorted(resampling.block[order], np.arange(resampling.n_blocks + 1))
        self.blocks = [slice(start, stop) for start, stop in pairwise(bounds)]
        self.weights = resampling.weights
        self.standard = standard[order]
        self.present = is_present[np.ix_(order, self.gaps)].astype(float)

    def of(self, rows: slice) -> tuple[np.ndarray, tuple, tuple, np.ndarray]:
        """Of these columns (a) with all columns (b), each [1 + n_replicates, rows, p].

        Returns
        -------
        Rows, sums of (a, b), sums of squares of (a, b), sums of products.
        """
        product = self._sums(lambda block: self.standard[block, rows].T @ self.standard[block])
        n, ones, squares = self.alone
        return (
            self._where_b_present(n, rows, lambda block: self._ones(block)[:, rows]),
            (
                self._where_b_present(ones, rows, lambda block: self.standard[block, rows]),
                self._where_a_present(ones, rows, lambda block: self.standard[block]),
            ),
            (
                self._where_b_present(squares, rows, lambda block: self.standard[block, rows] ** 2),
                self._where_a_present(squares, rows, lambda block: self.standard[block] ** 2),
            ),
            product,
        )

    def _sums(self, of_block: Callable[[slice], np.ndarray]) -> np.ndarray:
        return np.tensordot(self.weights, np.stack([of_block(block) for block in self.blocks]), axes=1)

    def _ones(self, block: slice) -> np.ndarray:
        ones = np.ones_like(self.standard[block])
        ones[:, self.gaps] = self.present[block]
        return ones

    def _where_b_present(self, alone: np.ndarray, rows: slice, of_a: Callable[[slice], np.ndarray]) -> np.ndarray:
        """Sums of a where b is present: a's own, but over the rows with b where b has gaps."""
        sums = np.repeat(alone[:, rows, None], alone.shape[1], axis=2)
        if len(self.gaps):
            sums[:, :, self.gaps] = self._sums(lambda block: of_a(block).T @ self.present[block])
        return sums

    def _where_a_present(self, alone: np.ndarray, rows: slice, of_b: Callable[[slice], np.ndarray]) -> np.ndarray:
        """Sums of b where a is present: b's own, but over the rows with a where a has gaps."""
        sums = np.repeat(alone[:, None, :], rows.stop - rows.start, axis=1)
        chosen = (self.gaps >= rows.start) & (self.gaps < rows.stop)
        if chosen.any():
            places = self.gaps[chosen] - rows.start
            sums[:, places] = self._sums(lambda block: self.present[block][:, chosen].T @ of_b(block))
        return sums


def _standardised(x: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and variance 1 over present values, missing at 0: keeps sums of products exact."""
    standard = x.copy()
    is_missing = np.isnan(standard)
    standard[is_missing] = 0
    n = np.maximum(len(x) - is_missing.sum(axis=0), 1)
    standard -= standard.sum(axis=0) / n
    standard[is_missing] = 0
    spread = np.sqrt(np.einsum("ij,ij->j", standard, standard) / n)
    standard /= np.where(spread > 0, spread, 1)
    return standard
