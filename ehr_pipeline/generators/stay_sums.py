"""How a stay goes in sum: events per code, times, and mean, least, largest and last value of the common numbers.

What belongs here: which codes are planned, and the sums of real stays. What does not: the columns of a table that stand
for them (`stay_columns.py`), who draws the table (`stay_plan.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.number_codec import MAXIMUM_DECIMALS
from ehr_pipeline.generators.timeline_steps import TimedEvents

MOST_PLANNED = 48
"""Codes whose events are counted one by one, at most."""
MOST_TERMINAL = 8
"""Of these, codes that end a stay."""
MOST_NUMERIC = 24
"""Codes of numbers whose values are summed up, at most."""
PATIENTS_PER_CODE, PATIENTS_PER_NUMBER = 10, 20
"""So many patients there are for each planned code, and each code of numbers: a plan of few patients is short."""
FEWEST_CARRIERS = 4 * MINIMUM_PATIENTS
"""Patients that have a planned code at least."""
SAME_COUNT_SHARE = 0.5
"""Codes are measured together if as many patients who have either have as many of the one as of the other."""
COMMON_SHARE = 0.95
"""So many values of a code keep to its decimals."""
PARTS = ("mean", "min", "max", "last")


@dataclass(frozen=True, kw_only=True)
class Number:
    """A planned code whose values are numbers.

    Attributes
    ----------
    place
        Among the planned.
    decimals
        That nearly all values keep to; None if they have more than `MAXIMUM_DECIMALS`.
    always
        Whether every event has a number.
    """

    place: int
    decimals: int | None
    always: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class StaySums:
    """The sums of n stays.

    Attributes
    ----------
    counts
        int64 of shape (n, n_planned).
    n_other
        int64 of shape (n,): events of codes that are not planned.
    n_times, first_minute, last_minute
        int64 of shape (n,): distinct times, the first and the last of them; 0 where there are no events.
    values
        float64 of shape (n, n_numbers, 4): `PARTS`, NaN where there are none.
    """

    counts: np.ndarray
    n_other: np.ndarray
    n_times: np.ndarray
    first_minute: np.ndarray
    last_minute: np.ndarray
    values: np.ndarray

    def frame(self, layout: StayLayout) -> pd.DataFrame:
        """One named column for each sum."""
        names = ("last_minute", "first_minute", "n_times", "n_other")
        columns: dict[str, np.ndarray] = {name: getattr(self, name) for name in names}
        columns |= {f"n.{k}": self.counts[:, k] for k in range(self.counts.shape[1])}
        for q, number in enumerate(layout.numbers):
            columns |= {f"{part}.{number.place}": self.values[:, q, p] for p, part in enumerate(PARTS)}
        return pd.DataFrame(columns)


@dataclass(frozen=True, kw_only=True)
class StayLayout:
    """Which sums a plan has.

    Attributes
    ----------
    planned
        Places in `TimedEvents.codes`: codes that end a stay, then those with most events.
    reference
        For each planned code the place among the planned of an earlier one that is measured with it, or -1.
    numbers
        Codes whose values are summed up.
    window_minutes
        No event is later.
    """

    planned: tuple[int, ...]
    reference: tuple[int, ...]
    numbers: tuple[Number, ...]
    window_minutes: int

    @classmethod
    def learn(cls, timed: TimedEvents, n_patients: int, window_minutes: int) -> Self:
        """Choose the codes."""
        n_codes = len(timed.codes)
        n_events = np.bincount(timed.code, minlength=n_codes)
        pairs = np.unique(timed.code * n_patients + timed.patient)
        carriers = np.bincount(pairs // n_patients, minlength=n_codes)
        common = np.argsort(-n_events, kind="stable")
        common = common[carriers[common] >= FEWEST_CARRIERS]
        most = min(MOST_PLANNED, n_patients // PATIENTS_PER_CODE)
        is_terminal = common >= n_codes - timed.n_terminal
        ends = common[is_terminal][: min(MOST_TERMINAL, most)]
        planned = np.concatenate([ends, common[~is_terminal][: most - len(ends)]])
        bare = cls(planned=tuple(planned.tolist()), reference=(), numbers=(), window_minutes=window_minutes)
        counts = bare.sums(timed, n_patients).counts
        return cls(
            planned=bare.planned,
            reference=tuple(_measured_with(counts, k) for k in range(len(planned))),
            numbers=tuple(bare._numbers(timed)[: min(MOST_NUMERIC, n_patients // PATIENTS_PER_NUMBER)]),
            window_minutes=window_minutes,
        )

    def places(self, n_codes: int) -> np.ndarray:
        """The place of each code among the planned, -1 where it is not: int64 of shape (n_codes,)."""
        place = np.full(n_codes, -1)
        place[list(self.planned)] = np.arange(len(self.planned))
        return place

    def sums(self, timed: TimedEvents, n_patients: int) -> StaySums:
        """Sum up real stays; memory of some 100 bytes per event."""
        n_planned, n = len(self.planned), n_patients
        place, patient, minute = self.places(len(timed.codes))[timed.code], timed.patient, timed.minute
        is_planned = place >= 0
        cell = patient[is_planned] * n_planned + place[is_planned]
        is_new = np.ones(len(patient), dtype=bool)
        is_new[1:] = (patient[1:] != patient[:-1]) | (minute[1:] != minute[:-1])
        first, last = np.full(n, self.window_minutes), np.zeros(n, dtype=np.int64)
        np.minimum.at(first, patient, minute)
        np.maximum.at(last, patient, minute)
        n_times = np.bincount(patient[is_new], minlength=n)
        values = np.full((n, len(self.numbers), len(PARTS)), np.nan)
        for q, number in enumerate(self.numbers):
            which = (place == number.place) & np.isfinite(timed.value)
            found = pd.Series(timed.value[which]).groupby(patient[which]).agg(list(PARTS))
            values[found.index.to_numpy(), q] = found.to_numpy()
            values[:, q, 0] = np.clip(
                rounded(values[:, q, 0], number.decimals, extra=1), values[:, q, 1], values[:, q, 2]
            )
        return StaySums(
            counts=np.bincount(cell, minlength=n * n_planned).reshape(n, n_planned).astype(np.int64),
            n_other=np.bincount(patient[~is_planned], minlength=n).astype(np.int64),
            n_times=n_times.astype(np.int64),
            first_minute=np.where(n_times > 0, first, 0),
            last_minute=last,
            values=values,
        )

    def _numbers(self, timed: TimedEvents) -> list[Number]:
        """The planned codes whose values are numbers that differ, of enough patients."""
        numbers = []
        place = self.places(len(timed.codes))[timed.code]
        for k in range(len(self.planned)):
            which = np.flatnonzero(place == k)
            has_value = np.isfinite(timed.value[which])
            values, patients = timed.value[which[has_value]], timed.patient[which[has_value]]
            if len(np.unique(patients)) >= FEWEST_CARRIERS and values.min() < values.max():
                numbers.append(Number(place=k, decimals=_common_decimals(values), always=bool(has_value.all())))
        return numbers

    def state(self) -> dict[str, Any]:
        """The layout as JSON."""
        return asdict(self)

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Self:
        """Read what `state` gave."""
        return cls(
            planned=tuple(state["planned"]),
            reference=tuple(state["reference"]),
            numbers=tuple(Number(**number) for number in state["numbers"]),
            window_minutes=state["window_minutes"],
        )


def rounded(values: np.ndarray, decimals: int | None, extra: int = 0) -> np.ndarray:
    """Values on the grid of `decimals`, or of `extra` digits more; as they are where None."""
    return values if decimals is None else np.round(values, decimals + extra)


def _common_decimals(values: np.ndarray) -> int | None:
    for decimals in range(MAXIMUM_DECIMALS + 1):
        if np.isclose(values, np.round(values, decimals), rtol=1e-12, atol=1e-9).mean() >= COMMON_SHARE:
            return decimals
    return None


def _measured_with(counts: np.ndarray, k: int) -> int:
    """The earlier code whose count equals that of code k most often where there is either, or -1."""
    has = counts > 0
    shares = [
        (counts[:, i] == counts[:, k])[has[:, i] | has[:, k]].mean() if has[:, i].any() else 0.0 for i in range(k)
    ]
    best = int(np.argmax(shares)) if shares else -1
    return best if best >= 0 and shares[best] >= SAME_COUNT_SHARE else -1
