"""Values of codes: how each one's numbers are distributed, and how often a number repeats the one before.

What belongs here: one code at a time. What does not: relations (`relations.py`), the course over time (`courses.py`).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ehr_pipeline.evaluate.scoring import Readings
from ehr_pipeline.evaluate.timelines.draws import Draws, ks_statistics, mean_over, nothing, reading
from ehr_pipeline.evaluate.timelines.lists import CodeLists
from ehr_pipeline.evaluate.timelines.result import ValueDistance
from ehr_pipeline.evaluate.timelines.stream import Timelines
from ehr_pipeline.record import SMALL_CELL


class Values:
    """Distances of other patients' values from the training patients', code by code."""

    def __init__(self, train: Timelines, lists: CodeLists) -> None:
        self.lists = lists
        self.real = [np.sort(values) for values, _ in self._by_code(train)]
        self.n_real = [len(np.unique(patient)) for _, patient in self._by_code(train)]
        self.repeats = self._repeats(train, Draws(train.n_patients, None))[0]

    def readings(self, other: Timelines, draws: Draws) -> Readings:
        """`value_ks_mean`, `value_ks_max` and `value_repeat_error`."""
        if not len(self.lists.valued):
            return dict.fromkeys(("value_ks_mean", "value_ks_max", "value_repeat_error"), nothing("no code has values"))
        far = self.distances(other, draws)
        worst = int(np.argmax(far[0]))
        repeats = np.abs(self._repeats(other, draws) - self.repeats)
        return {
            "value_ks_mean": reading(far.mean(axis=1), highest=1.0),
            "value_ks_max": reading(far[:, worst], highest=1.0, note=str(self.lists.codes[self.lists.valued[worst]])),
            "value_repeat_error": reading(mean_over(repeats), highest=1.0),
        }

    def distances(self, other: Timelines, draws: Draws) -> np.ndarray:
        """KS distance of each valued code: [n_draws, n_valued]."""
        pairs = zip(self.real, self._by_code(other), strict=True)
        return np.column_stack([ks_statistics(real, values, patient, draws) for real, (values, patient) in pairs])

    def table(self, other: Timelines, floor: Timelines) -> list[ValueDistance]:
        """Every valued code of at least SMALL_CELL training patients, worst first."""
        if not len(self.lists.valued):
            return []
        far, fresh = (self.distances(side, Draws(side.n_patients, None))[0] for side in (other, floor))
        made = self._by_code(other)
        order = [place for place in np.argsort(-far, kind="stable") if self.n_real[place] >= SMALL_CELL]
        return [
            ValueDistance(
                code=str(self.lists.codes[self.lists.valued[place]]),
                title=self.lists.named.title(self.lists.codes[self.lists.valued[place]]),
                distance=float(far[place]),
                floor=float(fresh[place]),
                n_real=self.n_real[place],
                median_real=_three_digits(np.median(self.real[place]))
                if self.n_real[place] >= 2 * SMALL_CELL
                else None,
                median_synthetic=float(np.median(made[place][0])) if len(made[place][0]) else None,
            )
            for place in order
        ]

    def _by_code(self, timelines: Timelines) -> list[tuple[np.ndarray, np.ndarray]]:
        """Values and patients of each valued code."""
        kept, place = timelines.with_number().of_codes(self.lists.valued)
        order = np.argsort(place, kind="stable")
        ends = np.searchsorted(place[order], np.arange(len(self.lists.valued) + 1))
        value, patient = kept.value[order], kept.patient[order]
        return [(value[a:b], patient[a:b]) for a, b in pairwise(ends)]

    def _repeats(self, timelines: Timelines, draws: Draws) -> np.ndarray:
        """Share of timed values that equal the patient's last one of the code: [n_draws, n_numeric], NaN without."""
        kept, place = timelines.timed().with_number().of_codes(self.lists.numeric)
        order = np.argsort(kept.patient * len(self.lists.numeric) + place, kind="stable")  # the order of time stays
        patient, place, value = kept.patient[order], place[order], kept.value[order]
        follows = (patient[1:] == patient[:-1]) & (place[1:] == place[:-1])
        same = (value[1:] == value[:-1])[follows].astype(float)
        at = patient[1:][follows], place[1:][follows], len(self.lists.numeric)
        n = draws.sums(*at)
        return np.divide(draws.sums(*at, same), n, out=np.full_like(n, np.nan), where=n > 0)


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")
