"""How well a table keeps what its columns know of each other.

What belongs here: correlations, joint cells of two and three columns, joint missingness. What does not:
single columns (`marginals.py`), classifiers (`two_sample.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.intervals import Resampling, around, shares
from ehr_pipeline.evaluate.marginals import total_variation
from ehr_pipeline.evaluate.scoring import Reading, Readings

MIN_LEVEL_SHARE = 0.01
N_TRIPLES = 50
DENSE_CELLS = 50_000
CHUNK_NUMBERS = 4_000_000


class Dependence:
    """Distances of the joint behaviour of columns between the training table and tables in its place."""

    def __init__(self, train: Encoded, encoding: Encoding, seed: int, rng: np.random.Generator) -> None:
        self.train = train
        self.encoding = encoding
        self.resampling = Resampling(train.patient, rng)
        self.cells, self.sizes = encoding.cells(train)
        self.frequent = self._frequent_codes()
        self.correlation = pairwise_correlation(self.indicators(train))
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

    def readings(self, table: Encoded) -> Readings:
        """All scores of joint behaviour, without intervals."""
        cells, _ = self.encoding.cells(table)
        two = [self._distance(cells, group) for group in self.pairs]
        three = [self._distance(cells, group) for group in self.triples]
        error = np.abs(self.correlation - pairwise_correlation(self.indicators(table)))
        upper = np.triu_indices(len(error), 1)
        found = {
            "correlation_error": Reading(float(error[upper].mean()) if upper[0].size else None),
            "tvd2_mean": Reading(float(np.mean(two)) if two else None),
            "tvd2_max": Reading(max(two), note=f"worst pair: {self._label(two)}") if two else Reading(None),
            "tvd3_mean": Reading(float(np.mean(three)) if three else None),
        }
        return {
            name: reading if reading.value is not None else Reading(None, note="too few columns")
            for name, reading in (found | self._comissing(table)).items()
        }

    def readings_with_intervals(self, table: Encoded, rng: np.random.Generator) -> Readings:
        """All scores of joint behaviour with 95 % bootstrap intervals over patients."""
        resampling = Resampling(table.patient, rng)
        cells, _ = self.encoding.cells(table)
        two = [self._distance_replicates(cells, resampling, group) for group in self.pairs]
        three = [self._distance_replicates(cells, resampling, group) for group in self.triples]
        errors = {
            "correlation_error": self._correlation_replicates(table, resampling),
            "tvd2_mean": np.mean(two, axis=0) if two else np.zeros(1),
            "tvd2_max": np.max(two, axis=0) if two else np.zeros(1),
            "tvd3_mean": np.mean(three, axis=0) if three else np.zeros(1),
            "comissing_error": self._comissing_replicates(table, resampling),
        }
        found = {}
        for name, reading in self.readings(table).items():
            low, high = around(reading.value, float(errors[name].std())) if reading.value is not None else (None, None)
            found[name] = reading._replace(low=low, high=high)
        return found

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

    def _distance(self, cells: np.ndarray, group: tuple[int, ...]) -> float:
        """Total variation of the joint cells of a group of columns."""
        p, q = (
            shares(np.bincount(joint, minlength=n_cells))
            for joint, n_cells in (self._joint(self.cells, group), self._joint(cells, group))
        )
        return total_variation(p, q)

    def _distance_replicates(self, cells: np.ndarray, resampling: Resampling, group: tuple[int, ...]) -> np.ndarray:
        (real, n_cells), (other, _) = self._joint(self.cells, group), self._joint(cells, group)
        if n_cells > DENSE_CELLS:
            filled, place = np.unique(np.concatenate([real, other]), return_inverse=True)
            real, other, n_cells = place[: len(real)], place[len(real) :], len(filled)
        p, q = shares(self.resampling.counts(real, n_cells)), shares(resampling.counts(other, n_cells))
        return 0.5 * np.abs(p - q).sum(axis=1)

    def _label(self, two: list[float]) -> str:
        return ", ".join(self.encoding.names[place] for place in self.pairs[int(np.argmax(two))])

    def _gaps(self, table: Encoded) -> np.ndarray:
        """Missingness float [n, g] of the columns that have gaps in training."""
        has_gaps = self.encoding.missing(self.train).any(axis=0)
        return self.encoding.missing(table)[:, has_gaps].astype(float)

    def _comissing(self, table: Encoded) -> Readings:
        real, other = self._gaps(self.train), self._gaps(table)
        if real.shape[1] < 2:
            return {}
        upper = np.triu_indices(real.shape[1], 1)
        error = np.abs(real.T @ real / max(len(real), 1) - other.T @ other / max(len(other), 1))
        return {"comissing_error": Reading(float(error[upper].mean()))}

    def _comissing_replicates(self, table: Encoded, resampling: Resampling) -> np.ndarray:
        sides = ((self._gaps(self.train), self.resampling), (self._gaps(table), resampling))
        total, n_pairs = np.zeros(1), 0
        for first in range(sides[0][0].shape[1] - 1):
            both = [
                r.sums(gaps[:, first, None] * gaps[:, first + 1 :]) / np.maximum(r.sums(np.ones((len(gaps), 1))), 1)
                for gaps, r in sides
            ]
            total, n_pairs = total + np.abs(both[0] - both[1]).sum(axis=1), n_pairs + both[0].shape[1]
        return total / max(n_pairs, 1)

    def _correlation_replicates(self, table: Encoded, resampling: Resampling) -> np.ndarray:
        sides = ((self.train, self.resampling), (table, resampling))
        streams = [_correlation_chunks(self.indicators(t), r) for t, r in sides]
        total, n_pairs = np.zeros(1), 0
        for (start, real), (_, other) in zip(*streams, strict=True):
            rows, columns = np.indices(real.shape[1:])
            upper = columns > rows + start
            total = total + np.abs(real - other)[:, upper].sum(axis=1)
            n_pairs += int(upper.sum())
        return total / max(n_pairs, 1)


def pairwise_correlation(x: np.ndarray) -> np.ndarray:
    """Pearson correlations [p, p] of x [n, p] over the rows where both are present.

    0 where a pair is undefined: a constant column, or no row in common.
    """
    present = (~np.isnan(x)).astype(float)
    standard = _standardised(x)
    products = [present.T @ present, standard.T @ present, standard.T @ standard, (standard**2).T @ present]
    return _from_moments(products[0], products[1], products[1].T, products[2], products[3], products[3].T)


def _standardised(x: np.ndarray) -> np.ndarray:
    """Columns with mean 0 and variance 1 over present values, missing at 0: keeps the sums below exact."""
    present = ~np.isnan(x)
    n = np.maximum(present.sum(axis=0), 1)
    centred = np.where(present, x - np.where(present, x, 0).sum(axis=0) / n, 0)
    spread = np.sqrt((centred**2).sum(axis=0) / n)
    return centred / np.where(spread > 0, spread, 1)


def _from_moments(
    n: np.ndarray, sum_a: np.ndarray, sum_b: np.ndarray, sum_ab: np.ndarray, sum_aa: np.ndarray, sum_bb: np.ndarray
) -> np.ndarray:
    """Correlations from sums over the rows where both a and b are present."""
    variance_a, variance_b = n * sum_aa - sum_a**2, n * sum_bb - sum_b**2
    defined = (variance_a > 1e-9 * n**2) & (variance_b > 1e-9 * n**2)
    scale = np.sqrt(np.where(defined, variance_a * variance_b, 1))
    return np.where(defined, (n * sum_ab - sum_a * sum_b) / scale, 0)


def _correlation_chunks(x: np.ndarray, resampling: Resampling) -> Iterator[tuple[int, np.ndarray]]:
    """Replicates of the correlation matrix, a few of its rows at a time: (first row, [REPLICATES, rows, p])."""
    present, standard = (~np.isnan(x)).astype(float), _standardised(x)
    n_columns = x.shape[1]
    step = max(1, CHUNK_NUMBERS // (max(n_columns, 1) * len(resampling.weights)))
    order = np.argsort(resampling.block, kind="stable")
    bounds = np.searchsorted(resampling.block[order], np.arange(resampling.n_blocks + 1))
    blocks = [order[start:stop] for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]
    for first in range(0, n_columns, step):
        rows = slice(first, min(first + step, n_columns))
        sums = []
        for a, b in (
            (present[:, rows], present),
            (standard[:, rows], present),
            (present[:, rows], standard),
            (standard[:, rows], standard),
            (standard[:, rows] ** 2, present),
            (present[:, rows], standard**2),
        ):
            per_block = np.stack([a[block].T @ b[block] for block in blocks])
            sums.append(np.tensordot(resampling.weights, per_block, axes=1))
        yield first, _from_moments(*sums)
