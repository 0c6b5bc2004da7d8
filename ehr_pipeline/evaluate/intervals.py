"""Intervals over patients: how far a number would move with another draw of patients.

What belongs here: closed-form intervals of rates, quantiles and AUROCs, and the bootstrap of additive
statistics. What does not: the statistics.

The bootstrap resamples random blocks of patients, `MAX_BLOCKS` of them, or each patient where there are no
more. Counts and sums add up over blocks, so that a replicate is a weighted sum of what one pass over the
rows gave: the rows are read once, whatever the number of replicates. Distances such as KS and total
variation are biased upwards in replicates (noise adds distance), so replicates give the standard error and
the interval stands around the value itself.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import beta, rankdata

from ehr_pipeline.evaluate.scoring import Reading

REPLICATES = 100
MIN_REPLICATES = 50
MAX_BLOCKS = 100
Z = 1.96


class Resampling:
    """Weights of the patients of one table: all once, then bootstrap replicates over blocks of patients.

    Attributes
    ----------
    block
        int64 [n]: the block of each row; a patient's rows share one.
    weights
        float64 [1 + n_replicates, n_blocks]: how often each block is drawn; the first row is the table itself.
    """

    def __init__(self, patient: np.ndarray, rng: np.random.Generator | None) -> None:
        """Resample with `rng`; without it there is only the table itself."""
        if rng is None:
            self.n_blocks, self.block, self.weights = 1, np.zeros(len(patient), dtype=np.int64), np.ones((1, 1))
            return
        _, position = np.unique(patient, return_inverse=True)
        n_patients = int(position.max()) + 1 if len(position) else 1
        self.n_blocks = min(n_patients, MAX_BLOCKS)
        self.block = (rng.permutation(n_patients) % self.n_blocks)[position]
        drawn = rng.multinomial(self.n_blocks, np.full(self.n_blocks, 1 / self.n_blocks), REPLICATES)
        self.weights = np.vstack([np.ones(self.n_blocks), drawn])

    def counts(self, cell: np.ndarray, n_cells: int) -> np.ndarray:
        """Rows in each cell [1 + n_replicates, n_cells] of `cell`, int [n]."""
        flat = np.bincount(self.block * n_cells + cell, minlength=self.n_blocks * n_cells)
        return self.weights @ flat.reshape(self.n_blocks, n_cells)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Column sums [1 + n_replicates, p] of `values`, float [n, p]."""
        n = len(self.block)
        members = csr_array((np.ones(n), (self.block, np.arange(n))), shape=(self.n_blocks, n))
        return self.weights @ (members @ values)

    def n_rows(self) -> np.ndarray:
        """Rows of the table [1 + n_replicates, 1], at least 1."""
        return np.maximum(self.weights @ np.bincount(self.block, minlength=self.n_blocks), 1)[:, None]


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts [..., cells] as shares of their row's total."""
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)


def read(statistics: np.ndarray | None, note: str | None = None) -> Reading:
    """A statistic [1 + n_replicates] as its value and its interval.

    There is no interval where fewer than `MIN_REPLICATES` replicates are finite.
    """
    if statistics is None or not np.isfinite(statistics[0]):
        return Reading(None, note=note or "nothing to compare")
    value, replicates = float(statistics[0]), statistics[1:][np.isfinite(statistics[1:])]
    if len(replicates) < MIN_REPLICATES:
        return Reading(value, note=note)
    return Reading(value, *around(value, float(np.std(replicates))), note)


def around(value: float, error: float, lowest: float = 0.0, highest: float = np.inf) -> tuple[float, float]:
    """The 95 % normal interval of a value with this standard error, cut to where the value can be."""
    return float(max(value - Z * error, lowest)), float(min(value + Z * error, highest))


def clopper_pearson(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a rate; [0, 1] where nothing was tried.

    >>> tuple(round(bound, 4) for bound in clopper_pearson(0, 100))
    (0.0, 0.0362)
    """
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def hanley_mcneil(auc: float, n: int, m: int) -> tuple[float, float]:
    """95 % interval of an AUROC of n against m rows (Hanley and McNeil 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)) / (n * m)
    return around(auc, max(np.sqrt(max(variance, 0)), _least_auc_error(auc, n, m)), highest=1.0)


def auc_and_error(label: np.ndarray, score: np.ndarray, patient: np.ndarray) -> tuple[float, float]:
    """AUROC and its standard error over patients (DeLong 1988; summed per patient as Obuchowski 1997).

    `label` is 0/1 [n] with both present, `score` float [n], `patient` int [n].
    """
    positive = label == 1
    n, m = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(score)
    beaten = np.empty(len(score))
    beaten[positive] = (ranks[positive] - rankdata(score[positive])) / m
    beaten[~positive] = 1 - (ranks[~positive] - rankdata(score[~positive])) / n
    auc = float(beaten[positive].mean())
    influence = np.where(positive, (beaten - auc) / n, (beaten - auc) / m)
    _, position = np.unique(patient, return_inverse=True)
    per_patient = np.bincount(position, weights=influence)
    n_patients = max(len(per_patient), 2)
    error = np.sqrt((per_patient**2).sum() * n_patients / (n_patients - 1))
    return auc, float(max(error, _least_auc_error(auc, n, m)))


def _least_auc_error(auc: float, n: int, m: int) -> float:
    """The rule of three: how sure a perfect ranking can be, whose formula's error is 0."""
    return 3 / (Z * min(n, m)) if auc in (0.0, 1.0) else 0.0


def quantile_interval(values: np.ndarray, quantile: float) -> tuple[float, float]:
    """95 % interval of a quantile from the ranks that bracket it."""
    half_width = Z * np.sqrt(quantile * (1 - quantile) / len(values))
    low, high = np.quantile(values, [max(quantile - half_width, 0), min(quantile + half_width, 1)])
    return float(low), float(high)
