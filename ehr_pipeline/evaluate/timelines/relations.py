"""How numbers go together: with their own past, between codes over patients, and between codes at one time.

What belongs here: correlations over events and patients, and their mean absolute errors.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.scoring import Readings
from ehr_pipeline.evaluate.timelines.draws import Draws, mean_over, reading
from ehr_pipeline.evaluate.timelines.features import group_values
from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.stream import Timelines

MIN_LAG_VALUES = 3
MIN_PAIR_PATIENTS = 30
FLAT = 1e-9

Pair = tuple[np.ndarray, np.ndarray]
"""The same of the one and of the other variable."""


class Relations:
    """Errors of other patients' correlations against the training patients'."""

    def __init__(self, train: Timelines, lists: CodeLists) -> None:
        self.lists = lists
        alone = Draws(train.n_patients, None)
        self.lags = self._lags(train, alone)[0]
        self.real, self.pairs = {}, {}
        for name, (patient, x) in self._matrices(train).items():
            self.real[name] = correlations(x, patient, alone)[0]
            self.pairs[name] = _enough(x, patient)

    def readings(self, other: Timelines, draws: Draws) -> Readings:
        """Autocorrelation, correlation of patients' means, of values at one time, and of numbers of measurements."""
        found = {"autocorrelation_error": reading(mean_over(np.abs(self._lags(other, draws) - self.lags)), highest=2.0)}
        for name, (patient, x) in self._matrices(other).items():
            error = np.abs(correlations(x, patient, draws) - self.real[name])[:, self.pairs[name]]
            found[name] = reading(mean_over(error), highest=2.0)
        return found

    def _matrices(self, timelines: Timelines) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Patients of the rows, and the rows, float [n, codes], by metric."""
        everyone = np.arange(timelines.n_patients)
        means = group_values(timelines, self.lists.numeric)["mean"]
        return {
            "value_correlation_error": (everyone, means),
            "same_time_correlation_error": self._at_one_time(timelines),
            "measurement_correlation_error": (everyone, timelines.timed().counts(self.lists.frequent).astype(float)),
        }

    def _at_one_time(self, timelines: Timelines) -> tuple[np.ndarray, np.ndarray]:
        """One row per patient and time at which at least two numeric codes have a value."""
        kept, place = timelines.timed().with_number().of_codes(self.lists.numeric)
        is_new = (np.diff(kept.patient, prepend=-1) != 0) | (np.diff(kept.hours, prepend=-np.inf) != 0)
        row = np.cumsum(is_new) - 1
        x = np.full((int(is_new.sum()), len(self.lists.numeric)), np.nan)
        x[row, place] = kept.value
        is_shared = (~np.isnan(x)).sum(axis=1) > 1
        return kept.patient[is_new][is_shared], x[is_shared]

    def _lags(self, timelines: Timelines, draws: Draws) -> np.ndarray:
        """Correlation of consecutive values within patients, less each patient's mean: [n_draws, n_numeric].

        Of patients with `MIN_LAG_VALUES` values of the code; 0 where it is undefined.
        """
        k = len(self.lists.numeric)
        kept, place = timelines.timed().with_number().of_codes(self.lists.numeric)
        cell = kept.patient * k + place
        order = np.argsort(cell, kind="stable")
        cell, value = cell[order], kept.value[order]
        n = np.bincount(cell, minlength=timelines.n_patients * k)
        total = np.bincount(cell, value, minlength=timelines.n_patients * k)
        centred = value - (total / np.maximum(n, 1))[cell]
        is_pair = (cell[1:] == cell[:-1]) & (n[cell[1:]] >= MIN_LAG_VALUES)
        before, after, cell = centred[:-1][is_pair], centred[1:][is_pair], cell[1:][is_pair]
        at = cell // k if k else cell, cell % k if k else cell, k
        count, a, b, aa, bb, ab = (
            draws.sums(*at, weight) for weight in (None, before, after, before**2, after**2, before * after)
        )
        return _from_sums(count, (a, b), (aa, bb), ab)


def correlations(x: np.ndarray, patient: np.ndarray, draws: Draws) -> np.ndarray:
    """Pearson correlations of rows x, float [n, p], over rows with both: [n_draws, p, p]; 0 where undefined."""
    present = ~np.isnan(x)
    count = np.maximum(present.sum(axis=0), 1)
    centred = np.where(present, x - np.where(present, x, 0).sum(axis=0) / count, 0)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    centred /= np.where(spread > 0, spread, 1)
    there = present.astype(np.float64)
    n = draws.products(patient, there, there)
    total = draws.products(patient, centred, there)
    squares = draws.products(patient, centred**2, there)
    crossed = draws.products(patient, centred, centred)
    turned = np.swapaxes(total, 1, 2), np.swapaxes(squares, 1, 2)
    return _from_sums(n, (total, turned[0]), (squares, turned[1]), crossed)


def _from_sums(n: np.ndarray, sums: Pair, squares: Pair, crossed: np.ndarray) -> np.ndarray:
    """Pearson correlation of two variables from sums over n rows, of one shape; 0 where one of them does not vary."""
    (a, b), (aa, bb) = sums, squares
    left, right = n * aa - a**2, n * bb - b**2
    varies = (left > FLAT * n**2) & (right > FLAT * n**2)
    return np.where(varies, (n * crossed - a * b) / np.sqrt(np.where(varies, left * right, 1)), 0)


def _enough(x: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Pairs of columns, above the diagonal, that `MIN_PAIR_PATIENTS` patients have in one row: bool [p, p].

    The rows are in the order of patients.
    """
    present = ~np.isnan(x)
    pairs = np.zeros((x.shape[1], x.shape[1]), dtype=bool)
    for column in range(x.shape[1]):
        rows = present[:, column]
        starts = np.flatnonzero(np.diff(patient[rows], prepend=-1))
        if len(starts):
            pairs[column] = np.logical_or.reduceat(present[rows], starts, axis=0).sum(axis=0) >= MIN_PAIR_PATIENTS
    return np.triu(pairs, 1)
