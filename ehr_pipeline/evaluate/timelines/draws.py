"""How far a number would move with another draw of patients: the bootstrap of additive statistics over events.

What belongs here: sums over blocks of patients, and statistics made of them as readings. The bootstrap itself is that
of `evaluate/intervals.py`: blocks of patients are drawn again, and each event goes where its patient goes.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ehr_pipeline.evaluate.intervals import MIN_REPLICATES, Resampling, around
from ehr_pipeline.evaluate.scoring import Reading

MAX_POINTS = 400
"""Points at which two distributions are compared in replicates; the value itself is exact."""


class Draws:
    """Patients drawn again and again, by blocks; the first draw is the patients as they are.

    Attributes
    ----------
    block
        int64 [n_patients].
    weights
        float64 [n_draws, n_blocks].
    """

    def __init__(self, n_patients: int, rng: np.random.Generator | None) -> None:
        """Draw with `rng`; without it there is only the first draw."""
        resampling = Resampling(np.arange(n_patients), rng)
        self.block, self.weights, self.n_blocks = resampling.block, resampling.weights, resampling.n_blocks

    @property
    def is_single(self) -> bool:
        """Whether there is nothing but the patients as they are."""
        return len(self.weights) == 1

    def sums(self, patient: np.ndarray, cell: np.ndarray, n_cells: int, weight: np.ndarray | None = None) -> np.ndarray:
        """Sum of `weight` (else the number) of the rows in each cell: float64 [n_draws, n_cells].

        `patient` says whose each row is, int [n], and `cell` where it counts, int [n].
        """
        flat = np.bincount(self.block[patient] * n_cells + cell, weights=weight, minlength=self.n_blocks * n_cells)
        return self.weights @ flat.reshape(self.n_blocks, n_cells)

    def total(self, patient: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """The same of all rows together: float64 [n_draws, 1]."""
        return self.sums(patient, np.zeros(len(patient), dtype=np.int64), 1, weight)

    def n_patients(self) -> np.ndarray:
        """Patients in each draw: float64 [n_draws, 1], at least 1."""
        return np.maximum(self.total(np.arange(len(self.block))), 1)

    def products(self, patient: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """left.T @ right over the rows, float [n, p] and [n, q], by draw: float64 [n_draws, p, q]."""
        order = np.argsort(self.block[patient], kind="stable")
        ends = np.searchsorted(self.block[patient][order], np.arange(self.n_blocks + 1))
        left, right = left[order], right[order]
        pieces = np.stack([left[a:b].T @ right[a:b] for a, b in pairwise(ends)])
        return np.tensordot(self.weights, pieces, axes=1)


def reading(
    statistics: np.ndarray, *, lowest: float = 0.0, highest: float = np.inf, note: str | None = None
) -> Reading:
    """A statistic [n_draws] as its value, with an interval where there are replicates enough."""
    if not len(statistics) or not np.isfinite(statistics[0]):
        return Reading(None, note=note or "nothing to compare")
    value, replicates = float(statistics[0]), statistics[1:][np.isfinite(statistics[1:])]
    if len(replicates) < MIN_REPLICATES:
        return Reading(value, note=note)
    return Reading(value, *around(value, float(np.std(replicates)), lowest, highest), note)


def nothing(note: str) -> Reading:
    """What cannot be measured here, and why."""
    return Reading(None, note=note)


def ks_statistics(reference: np.ndarray, values: np.ndarray, patient: np.ndarray, draws: Draws) -> np.ndarray:
    """Kolmogorov-Smirnov distance of values, float [n], from sorted reference values: float64 [n_draws].

    Both without missing values. 1 where only one of them has values, 0 where neither has. Replicates are read at
    `MAX_POINTS` points, quantiles of both together.
    """
    if not len(reference) or not len(values):
        return np.full(len(draws.weights), float(len(reference) != len(values)))
    values = np.asarray(values, dtype=np.float64)
    both = np.sort(np.concatenate([reference, values]))
    ordered = np.sort(values)
    below = np.searchsorted(reference, both, side="right") / len(reference)
    exact = np.abs(below - np.searchsorted(ordered, both, side="right") / len(values)).max()
    if draws.is_single:
        return np.array([exact])
    points = np.unique(both[np.linspace(0, len(both) - 1, MAX_POINTS).astype(np.int64)])
    counts = draws.sums(patient, np.searchsorted(points, values, side="left"), len(points) + 1)
    own = counts[:, :-1].cumsum(axis=1) / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    far = np.abs(own - np.searchsorted(reference, points, side="right") / len(reference)).max(axis=1)
    far[0] = exact
    return far


def r_squared(truth: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Share of the variance of truth [k] that estimates [n_draws, k] explain as they are; NaN where it does not vary.

    1 - SS(truth - estimate) / SS(truth - mean): agreement with the identity line.
    """
    if not len(truth) or np.ptp(truth) == 0:
        return np.full(len(estimate), np.nan)
    return 1 - ((truth - estimate) ** 2).sum(axis=1) / ((truth - truth.mean()) ** 2).sum()


def mean_over(errors: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Mean over the columns [n_draws, k], weighted by [k]; columns that are NaN are passed over, NaN if all are."""
    weights = np.where(np.isnan(errors), 0, 1 if weight is None else weight)
    total = weights.sum(axis=1)
    return np.where(total > 0, (np.nan_to_num(errors) * weights).sum(axis=1) / np.where(total > 0, total, 1), np.nan)
