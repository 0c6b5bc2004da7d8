"""How well a table keeps what its columns know of each other.

What belongs here: correlations, joint cells of two and three columns, joint missingness. What does not:
single columns (`marginals.py`), classifiers (`two_sample.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np

from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.intervals import Resampling, read, shares
from ehr_pipeline.evaluate.marginals import Sides, total_variation
from ehr_pipeline.evaluate.scoring import Readings

MIN_LEVEL_SHARE = 0.01
N_TRIPLES = 50
DENSE_CELLS = 50_000
CHUNK_NUMBERS = 4_000_000


class Dependence:
    """Distances of the joint behaviour of columns between the training table and tables in its place."""

    def __init__(self, train: Encoded, encoding: Encoding, seed: int, rng: np.random.Generator) -> None:
        self.train = train
        self.encoding = encoding
        self.once = Resampling(train.patient, None)
        self.resampling = Resampling(train.patient, rng)
        self.cells, self.sizes = encoding.cells(train)
        self.frequent = self._frequent_codes()
        n_columns = len(encoding.names)
        self.pairs = list(combinations(range(n_columns), 2))
        triples = list(combinations(range(n_columns), 3))
        chosen = np.random.default_rng(seed).permutation(len(triples))[:N_TRIPLES]
        self.triples = [triples[place] for place in chosen]

    def indicators(self, table: Encoded) -> np.ndarray:
        """Continuous columns, then 0/1 indicators of levels with at least 1 % of training, float64 [n, p].

        A column of two levels (missing counts as one) has one indicator.
        """
        columns = [table.numbers]
        columns += [(table.codes[:, place, None] == codes).astype(float) for place, codes in enumerate(self.frequent)]
        return np.hstack(columns)

    def readings(self, table: Encoded, rng: np.random.Generator | None = None) -> Readings:
        """All scores of joint behaviour; with `rng` they have bootstrap intervals over patients."""
        sides = (self.train, self.once if rng is None else self.resampling), (table, Resampling(table.patient, rng))
        cells, _ = self.encoding.cells(table)
        two, three = (
            [self._distance(cells, group, [resampling for _, resampling in sides]) for group in groups]
            for groups in (self.pairs, self.triples)
        )
        gaps, error = self._comissing(sides), self._correlation_error(sides)
        return {
            "correlation_error": read(error, None if error is not None else "too few columns"),
            "tvd2_mean": read(np.mean(two, axis=0) if two else None),
            "tvd2_max": read(np.max(two, axis=0), f"worst pair: {self._label(two)}") if two else read(None),
            "tvd3_mean": read(np.mean(three, axis=0) if three else None),
            **({} if gaps is None else {"comissing_error": read(gaps)}),
        }

    def _frequent_codes(self) -> list[np.ndarray]:
        frequent = []
        for place in range(len(self.encoding.categorical)):
            share = shares(np.bincount(self.train.codes[:, place]))
            codes = np.flatnonzero(share >= MIN_LEVEL_SHARE)
            frequent.append(codes[:1] if (share > 0).sum() == 2 else codes)
        return frequent

    def _joint(self, cells: np.ndarray, group: tuple[int, ...]) -> tuple[np.ndarray, int]:
        """The joint cell of each row [n] over a group of columns, and how many there are."""
        joint, n_cells = np.zeros(len(cells), dtype=np.int64), 1
        for place in group:
            joint = joint * self.sizes[place] + cells[:, place]
            n_cells *= int(self.sizes[place])
        return joint, n_cells

    def _distance(self, cells: np.ndarray, group: tuple[int, ...], resamplings: list[Resampling]) -> np.ndarray:
        """Total variation [1 + n_replicates] of the joint cells of a group of columns."""
        (real, n_cells), (other, _) = self._joint(self.cells, group), self._joint(cells, group)
        if n_cells > DENSE_CELLS:
            filled, place = np.unique(np.concatenate([real, other]), return_inverse=True)
            real, other, n_cells = place[: len(real)], place[len(real) :], len(filled)
        p, q = (shares(r.counts(joint, n_cells)) for joint, r in zip((real, other), resamplings, strict=True))
        return total_variation(p, q)

    def _label(self, two: list[np.ndarray]) -> str:
        worst = self.pairs[int(np.argmax([found[0] for found in two]))]
        return ", ".join(self.encoding.names[place] for place in worst)

    def _comissing(self, sides: Sides) -> np.ndarray | None:
        """Mean absolute error [1 + n_replicates] of the share of rows where both of two columns are missing.

        Over pairs of the columns that have gaps in training; None where there is no pair.
        """
        has_gaps = np.flatnonzero(self.encoding.missing(self.train).any(axis=0))
        n_pairs = len(has_gaps) * (len(has_gaps) - 1) // 2
        if not n_pairs:
            return None
        total = np.zeros(len(sides[0][1].weights))
        gaps = [(self.encoding.missing(table)[:, has_gaps].astype(float), resampling) for table, resampling in sides]
        for first in range(len(has_gaps) - 1):
            real, other = (r.sums(gap[:, [first]] * gap[:, first + 1 :]) / r.n_rows() for gap, r in gaps)
            total += np.abs(real - other).sum(axis=1)
        return total / n_pairs

    def _correlation_error(self, sides: Sides) -> np.ndarray | None:
        """Mean absolute error [1 + n_replicates] of correlations above the diagonal; None for one column."""
        streams = [_correlation_chunks(self.indicators(table), resampling) for table, resampling in sides]
        total, n_pairs = np.zeros(len(sides[0][1].weights)), 0
        for (first, real), (_, other) in zip(*streams, strict=True):
            rows, columns = np.indices(real.shape[1:])
            upper = columns > rows + first
            total += np.abs(real - other)[:, upper].sum(axis=1)
            n_pairs += int(upper.sum())
        return total / n_pairs if n_pairs else None


def pairwise_correlation(x: np.ndarray) -> np.ndarray:
    """Pearson correlations [p, p] of x [n, p] over the rows where both are present.

    0 where a pair is undefined: a constant column, or no row in common.
    """
    chunks = [found[0] for _, found in _correlation_chunks(x, Resampling(np.arange(len(x)), None))]
    return np.vstack(chunks) if chunks else np.empty((0, 0))


def _correlation_chunks(x: np.ndarray, resampling: Resampling) -> Iterator[tuple[int, np.ndarray]]:
    """Correlation matrices, a few of their rows at a time: (first row, [1 + n_replicates, rows, p])."""
    present, standard = (~np.isnan(x)).astype(float), _standardised(x)
    order = np.argsort(resampling.block, kind="stable")
    bounds = np.searchsorted(resampling.block[order], np.arange(resampling.n_blocks + 1))
    blocks = [order[start:stop] for start, stop in pairwise(bounds)]

    def sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Sums of products [1 + n_replicates, columns of a, columns of b]."""
        return np.tensordot(resampling.weights, np.stack([a[block].T @ b[block] for block in blocks]), axes=1)

    n_columns = x.shape[1]
    step = max(1, CHUNK_NUMBERS // (max(n_columns, 1) * len(resampling.weights)))
    for first in range(0, n_columns, step):
        rows = slice(first, first + step)
        n = sums(present[:, rows], present)
        sum_a, sum_b = sums(standard[:, rows], present), sums(present[:, rows], standard)
        variance_a = n * sums(standard[:, rows] ** 2, present) - sum_a**2
        variance_b = n * sums(present[:, rows], standard**2) - sum_b**2
        varies = (variance_a > 1e-9 * n**2) & (variance_b > 1e-9 * n**2)
        scale = np.sqrt(np.where(varies, variance_a * variance_b, 1))
        yield first, np.where(varies, (n * sums(standard[:, rows], standard) - sum_a * sum_b) / scale, 0)


def _standardised(x: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and variance 1 over present values, missing at 0: keeps sums of products exact."""
    present = ~np.isnan(x)
    n = np.maximum(present.sum(axis=0), 1)
    centred = np.where(present, x - np.where(present, x, 0).sum(axis=0) / n, 0)
    spread = np.sqrt((centred**2).sum(axis=0) / n)
    return centred / np.where(spread > 0, spread, 1)
