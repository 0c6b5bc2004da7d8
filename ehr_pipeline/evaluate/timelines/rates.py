"""When codes are measured: by hour of the stay, by hour of the day, and who has none of them when.

What belongs here: measures of codes by the clock, and the pictures of them. What does not: values.
"""

from __future__ import annotations

import numpy as np

from ehr_pipeline.evaluate.scoring import Readings
from ehr_pipeline.evaluate.timelines.draws import Draws, mean_over, reading
from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.result import MissingnessMap, RateProfile
from ehr_pipeline.evaluate.timelines.stream import Timelines
from ehr_pipeline.record import SMALL_CELL

DAY_HOURS = 24


class Rates:
    """Distances of other patients' times of measurement from the training patients'."""

    def __init__(self, train: Timelines, lists: CodeLists) -> None:
        self.lists, self.n_train = lists, train.n_patients
        alone = Draws(train.n_patients, None)
        self.by_stay = self._by_stay(train, alone)[0]
        self.by_day = self._by_day(train, alone)[0]
        self.has = self._has(train, alone)[0]
        self.profiles_real = [self._profile(train, by) for by in ("hour of stay", "hour of day")]

    def readings(self, other: Timelines, draws: Draws) -> Readings:
        """`stay_hour_rate_error`, `day_hour_tvd` and `missingness_error`, each averaged over frequent codes."""
        real = self.by_stay.sum(axis=1)
        stay = np.abs(self._by_stay(other, draws) - self.by_stay).sum(axis=2) / np.where(real > 0, real, np.nan)
        counts = self._by_day(other, draws)
        day = 0.5 * np.abs(_shares(counts) - _shares(self.by_day)).sum(axis=2)
        day = np.where(self.by_day.sum(axis=1) > 0, np.where(counts.sum(axis=2) > 0, day, 1.0), np.nan)
        missing = np.abs(self._has(other, draws) - self.has)
        return {
            "stay_hour_rate_error": reading(mean_over(stay)),
            "day_hour_tvd": reading(mean_over(day), highest=1.0),
            "missingness_error": reading(mean_over(missing.reshape(len(missing), missing[0].size)), highest=1.0),
        }

    def missingness(self, other: Timelines) -> MissingnessMap:
        """The map of both, codes of at least SMALL_CELL training patients; real shares in steps of SMALL_CELL."""
        own = self._has(other, Draws(other.n_patients, None))[0]
        hits = np.round(self.has * self.n_train).astype(int)
        shown = np.flatnonzero(self.lists.n_carriers[self.lists.frequent] >= SMALL_CELL)
        codes = [str(self.lists.codes[self.lists.frequent[place]]) for place in shown]
        return MissingnessMap(
            codes=codes,
            titles=[self.lists.named.title(code) for code in codes],
            hours=self.lists.begins,
            real=[[_coarse(hit, self.n_train) for hit in hits[place]] for place in shown],
            synthetic=own[shown].round(4).tolist(),
        )

    def profiles(self, other: Timelines) -> list[RateProfile]:
        """Events per patient by hour of stay and of day; real ones of fewer than SMALL_CELL patients are hidden."""
        found = []
        for by, (rate, n) in zip(("hour of stay", "hour of day"), self.profiles_real, strict=True):
            found.append(
                RateProfile(
                    by=by,
                    hours=self.lists.begins if by == "hour of stay" else [float(hour) for hour in range(DAY_HOURS)],
                    real=[
                        None if 0 < count < SMALL_CELL else round(float(r), 3) for r, count in zip(rate, n, strict=True)
                    ],
                    synthetic=self._profile(other, by)[0].round(4).tolist(),
                )
            )
        return found

    def _profile(self, timelines: Timelines, by: str) -> tuple[np.ndarray, np.ndarray]:
        """Events per patient in each bin, and patients who have any: [n_bins] each."""
        if by == "hour of stay":
            kept, size = self.lists.inside(timelines), self.lists.n_bins
            place = self.lists.bin_of(kept)
        else:
            kept = timelines.timed()
            place, size = kept.hour_of_day.astype(np.int64), DAY_HOURS
        n = np.bincount(np.unique(kept.patient * size + place) % size, minlength=size)
        return np.bincount(place, minlength=size) / max(timelines.n_patients, 1), n

    def _by_stay(self, timelines: Timelines, draws: Draws) -> np.ndarray:
        """Events per patient of each frequent code in each bin: [n_draws, k, n_bins]."""
        patient, cell = self._cells(timelines)
        k, n_bins = len(self.lists.frequent), self.lists.n_bins
        return (draws.sums(patient, cell, k * n_bins) / draws.n_patients()).reshape(len(draws.weights), k, n_bins)

    def _has(self, timelines: Timelines, draws: Draws) -> np.ndarray:
        """Share of patients with each frequent code in each bin: [n_draws, k, n_bins]."""
        patient, cell = self._cells(timelines)
        k, n_bins = len(self.lists.frequent), self.lists.n_bins
        has = np.zeros((timelines.n_patients, k * n_bins), dtype=bool)
        has[patient, cell] = True
        shares = draws.sums(*np.nonzero(has), k * n_bins) / draws.n_patients()
        return shares.reshape(len(draws.weights), k, n_bins)

    def _cells(self, timelines: Timelines) -> tuple[np.ndarray, np.ndarray]:
        kept, place = self.lists.inside(timelines).of_codes(self.lists.frequent)
        return kept.patient, place * self.lists.n_bins + self.lists.bin_of(kept)

    def _by_day(self, timelines: Timelines, draws: Draws) -> np.ndarray:
        """Events of each frequent code in each hour of the day: [n_draws, k, 24]."""
        kept, place = timelines.timed().of_codes(self.lists.frequent)
        k = len(self.lists.frequent)
        counts = draws.sums(kept.patient, place * DAY_HOURS + kept.hour_of_day, k * DAY_HOURS)
        return counts.reshape(len(draws.weights), k, DAY_HOURS)


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)


def _coarse(hits: int, n: int) -> float | None:
    """Share of `hits` of `n` patients in steps of SMALL_CELL; None for 1 to 10 of them."""
    if 0 < hits < SMALL_CELL:
        return None
    if hits in (0, n):
        return float(hits > 0)
    return round(min(round(hits / SMALL_CELL) * SMALL_CELL / n, 1.0), 4)
