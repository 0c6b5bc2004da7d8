"""How well a table keeps what its columns know of each other.

What belongs here: errors of correlations (`correlation.py` computes them), joint cells of two and three columns, joint
missingness. What does not: single columns (`marginals.py`), classifiers (`two_sample.py`).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from ehr_pipeline.evaluate.correlation import correlation_chunks
from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.intervals import Resampling, read, shares
from ehr_pipeline.evaluate.marginals import Sides, total_variation
from ehr_pipeline.evaluate.scoring import Readings

MIN_LEVEL_SHARE = 0.01
N_TRIPLES = 50
MAX_JOINT_COLUMNS = 150
"""Of a wider table the joint cells of this many columns are counted, drawn by the seed: pairs grow with the square."""
DENSE_CELLS = 50_000


class Dependence:
    """Distances of the joint behaviour of columns between the training table and tables in its place."""

    def __init__(self, train: Encoded, encoding: Encoding, seed: int, rng: np.random.Generator) -> None:
        self.train = train
        self.encoding = encoding
        self.once = Resampling(train.patient, None)
        self.resampling = Resampling(train.patient, rng)
        self.cells, self.sizes = encoding.cells(train)
        self.frequent = self._frequent_codes()
        columns = range(len(encoding.names))
        if len(columns) > MAX_JOINT_COLUMNS:
            columns = np.sort(np.random.default_rng(seed).permutation(len(columns))[:MAX_JOINT_COLUMNS]).tolist()
        self.pairs = list(combinations(columns, 2))
        triples = list(combinations(columns, 3))
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
        streams = [correlation_chunks(self.indicators(table), resampling) for table, resampling in sides]
        total, n_pairs = np.zeros(len(sides[0][1].weights)), 0
        for (first, real), (_, other) in zip(*streams, strict=True):
            rows, columns = np.indices(real.shape[1:])
            upper = columns > rows + first
            total += np.abs(real - other)[:, upper].sum(axis=1)
            n_pairs += int(upper.sum())
        return total / n_pairs if n_pairs else None
