"""The course of values over the stay: of all patients, and of those with and without the outcome.

What belongs here: means for the scores, quartiles for the pictures, one value per patient and bin of time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehr_pipeline.evaluate.scoring import Readings
from ehr_pipeline.evaluate.timelines.draws import Draws, mean_over, nothing, reading
from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.result import Band, Trajectory
from ehr_pipeline.evaluate.timelines.stream import Timelines
from ehr_pipeline.record import SMALL_CELL

MIN_BIN_PATIENTS = 30
"""Training patients with a value that a bin needs to be compared; of each outcome where they are told apart."""
N_SHOWN = 12
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, eq=False)
class Binned:
    """Mean value of each patient in each bin of each numeric code.

    Attributes
    ----------
    patient, cell, value
        int64, int64 and float64 of one length; a cell is code * n_bins + bin.
    """

    patient: np.ndarray
    cell: np.ndarray
    value: np.ndarray

    def of(self, is_member: np.ndarray) -> Binned:
        """Only of these patients, bool [n_patients]."""
        which = is_member[self.patient]
        return Binned(self.patient[which], self.cell[which], self.value[which])


class Courses:
    """Distances of other patients' courses from the training patients'."""

    def __init__(self, train: Timelines, lists: CodeLists, outcome: int | None) -> None:
        self.lists, self.outcome, self.n_cells = lists, outcome, len(lists.numeric) * lists.n_bins
        self.binned, self.has = self._binned(train), self._has(train)
        alone = Draws(train.n_patients, None)
        self.mean, self.n = (found[0] for found in self._means(self.binned, alone))
        self.spread = self._spread()
        both = [self._means(self.binned.of(who), alone) for who in (self.has, ~self.has)]
        self.effect = both[0][0][0] - both[1][0][0]
        self.n_both = np.minimum(both[0][1][0], both[1][1][0])

    def readings(self, other: Timelines, draws: Draws) -> Readings:
        """`trajectory_error` and `outcome_trajectory_error`, in standard deviations of the code, weighted by patients.

        The second is of the difference between patients with and without the outcome.
        """
        binned, has = self._binned(other), self._has(other)
        error = np.abs(self._means(binned, draws)[0] - self.mean) / self.spread
        weight = np.where(self.n >= MIN_BIN_PATIENTS, self.n, 0)
        found = {"trajectory_error": reading(mean_over(error, weight))}
        weight = np.where(self.n_both >= MIN_BIN_PATIENTS, self.n_both, 0)
        if not weight.any():
            why = "no outcome" if self.outcome is None else f"fewer than {MIN_BIN_PATIENTS} patients have the outcome"
            return found | {"outcome_trajectory_error": nothing(why)}
        sides = [self._means(binned.of(who), draws)[0] for who in (has, ~has)]
        effect = np.where(np.isnan(sides[0] - sides[1]), 0, sides[0] - sides[1])  # nobody with the outcome: no effect
        error = np.abs(effect - self.effect) / self.spread
        return found | {"outcome_trajectory_error": reading(mean_over(error, weight))}

    def trajectories(self, other: Timelines) -> list[Trajectory]:
        """Quartiles of the most measured codes."""
        sides = self.binned, self._binned(other)
        return self._shown(*sides, self.lists.numeric[:N_SHOWN], None)

    def by_outcome(self, other: Timelines) -> list[Trajectory]:
        """The same of the patients with the outcome, then of those without; none where there is no outcome."""
        if self.outcome is None:
            return []
        binned, has = self._binned(other), self._has(other)
        name, found = str(self.lists.codes[self.outcome]), []
        for word, real, made in (("with", self.has, has), ("without", ~self.has, ~has)):
            sides = self.binned.of(real), binned.of(made)
            found += self._shown(*sides, self.lists.numeric[:N_SHOWN], f"{word} {name}")
        return found

    def _shown(self, real: Binned, made: Binned, codes: np.ndarray, outcome: str | None) -> list[Trajectory]:
        bands = [self._bands(side, is_real) for side, is_real in ((real, True), (made, False))]
        found = []
        for place, code in enumerate(codes):
            if self.lists.n_carriers[code] < SMALL_CELL:
                continue
            name = str(self.lists.codes[code])
            found.append(
                Trajectory(
                    code=name,
                    title=self.lists.named.title(name),
                    unit=self.lists.named.unit(name),
                    hours=self.lists.begins,
                    real=bands[0][place],
                    synthetic=bands[1][place],
                    outcome=outcome,
                )
            )
        return found

    def _bands(self, binned: Binned, is_real: bool) -> list[Band]:
        """A band per numeric code."""
        n = np.bincount(binned.cell, minlength=self.n_cells)
        ordered = binned.value[np.lexsort((binned.value, binned.cell))]
        columns = {}
        for name, share in zip(("low", "median", "high"), QUARTILES, strict=True):
            columns[name] = _quantiles(ordered, n, share, is_real=is_real)
        columns["n"] = [None if is_real and 0 < count < SMALL_CELL else int(count) for count in n]
        width = self.lists.n_bins
        return [
            Band(**{name: column[place * width : (place + 1) * width] for name, column in columns.items()})
            for place in range(len(self.lists.numeric))
        ]

    def _binned(self, timelines: Timelines) -> Binned:
        kept, place = self.lists.inside(timelines).with_number().of_codes(self.lists.numeric)
        n_cells = max(self.n_cells, 1)
        own = kept.patient * n_cells + place * self.lists.n_bins + self.lists.bin_of(kept)
        cells, position = np.unique(own, return_inverse=True)
        n = np.bincount(position, minlength=len(cells))
        value = np.bincount(position, kept.value, minlength=len(cells)) / np.maximum(n, 1)
        return Binned(cells // n_cells, cells % n_cells, value)

    def _has(self, timelines: Timelines) -> np.ndarray:
        """Which patients have the outcome: bool [n_patients]."""
        if self.outcome is None:
            return np.zeros(timelines.n_patients, dtype=bool)
        return np.bincount(timelines.patient[timelines.code == self.outcome], minlength=timelines.n_patients) > 0

    def _means(self, binned: Binned, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
        """Mean over patients, NaN where there is none, and number of patients: [n_draws, n_cells]."""
        at = binned.patient, binned.cell, self.n_cells
        n = draws.sums(*at)
        return np.divide(draws.sums(*at, binned.value), n, out=np.full_like(n, np.nan), where=n > 0), n

    def _spread(self) -> np.ndarray:
        """Standard deviation of each cell's code over patients and bins; NaN where it does not vary."""
        code = self.binned.cell // self.lists.n_bins
        size = len(self.lists.numeric)
        n = np.maximum(np.bincount(code, minlength=size), 1)
        mean = np.bincount(code, self.binned.value, minlength=size) / n
        variance = np.bincount(code, (self.binned.value - mean[code]) ** 2, minlength=size) / n
        return np.repeat(np.where(variance > 0, np.sqrt(variance), np.nan), self.lists.n_bins)


def _quantiles(ordered: np.ndarray, n: np.ndarray, share: float, *, is_real: bool) -> list[float | None]:
    """A quantile of each cell's values, linear between neighbours.

    `ordered` are the values, cell by cell and rising, and `n` says how many each has. None where a cell has none, or
    where fewer than SMALL_CELL real patients lie beyond the quantile.
    """
    needed = int(np.ceil(SMALL_CELL / min(share, 1 - share))) if is_real else 1
    starts = np.cumsum(n) - n
    found: list[float | None] = []
    if len(ordered):
        at = starts + share * np.maximum(n - 1, 0)
        low = np.minimum(np.floor(at).astype(np.int64), len(ordered) - 1)
        high = np.minimum(np.ceil(at).astype(np.int64), len(ordered) - 1)
        value = ordered[low] + (at - low) * (ordered[high] - ordered[low])
    else:
        value = np.zeros(len(n))
    for number, count in zip(value, n, strict=True):
        shown = float(f"{number:.3g}") if is_real else round(float(number), 4)
        found.append(shown if count >= needed else None)
    return found
