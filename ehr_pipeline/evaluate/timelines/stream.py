"""Events as arrays: whose, when, what, how much; the form that every measure of timelines reads.

What belongs here: frames in the MEDS layout to arrays, and the simplest questions to them. What does not: files
(`timelines/`), any distance between two sets of patients.

A birth is no event of the stay: it becomes a static fact whose value is the age in years at time 0. Memory: 28 bytes
per event, three times that while a frame is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from ehr_pipeline.errors import SourceError
from ehr_pipeline.generators.timelines import BIRTH

COLUMNS = ("subject_id", "time", "code", "numeric_value")
HOUR, DAY = 3.6e9, 86_400_000_000
"""Microseconds."""
YEAR_HOURS = 24 * 365.25


@dataclass(frozen=True, eq=False)
class Timelines:
    """Events of some patients, ordered by patient, time (static facts first) and code.

    Attributes
    ----------
    patient
        int64 [n]: 0 to n_patients - 1.
    hours
        float64 [n]: since the patient's time 0; NaN of a static fact.
    hour_of_day
        int8 [n]: 0 to 23, -1 of a static fact.
    code
        int32 [n]: place among the training patients' codes; -1 if it is none of them.
    value
        float64 [n], NaN where there is none.
    subject_id
        int64 [n_patients].
    """

    patient: np.ndarray
    hours: np.ndarray
    hour_of_day: np.ndarray
    code: np.ndarray
    value: np.ndarray
    subject_id: np.ndarray

    @property
    def n_patients(self) -> int:
        """Patients, also those without an event that was kept."""
        return len(self.subject_id)

    def __len__(self) -> int:
        return len(self.patient)

    @classmethod
    def of(cls, events: pd.DataFrame, codes: pd.Index, start: np.ndarray) -> Self:
        """Events of a conformed frame; `start` is each row's patient's time 0, datetime64[us] [n]."""
        ids, patient = np.unique(events["subject_id"].to_numpy(np.int64), return_inverse=True)
        time = events["time"].to_numpy().astype("datetime64[us]")
        hours = (time - start).astype(np.float64) / HOUR
        is_static = np.isnat(time)
        hours[is_static] = np.nan
        value = events["numeric_value"].to_numpy(np.float64, na_value=np.nan)
        words = events["code"].astype("category").cat
        is_birth = (words.categories == BIRTH)[words.codes.to_numpy()] & ~is_static
        value = np.where(is_birth, -hours / YEAR_HOURS, value)
        hours[is_birth] = np.nan
        of_day = np.where(is_static | is_birth, -1, time.astype(np.int64) % DAY // int(HOUR)).astype(np.int8)
        code = codes.get_indexer(words.categories).astype(np.int32)[words.codes.to_numpy()]
        return cls(patient, hours, of_day, code, value, ids).ordered()

    def ordered(self) -> Self:
        """The same events in the order of this class."""
        return self.take(np.lexsort((self.code, np.where(np.isnan(self.hours), -np.inf, self.hours), self.patient)))

    def take(self, which: np.ndarray) -> Self:
        """The chosen events, by a mask or an order, of the same patients."""
        names = ("patient", "hours", "hour_of_day", "code", "value")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def of_patients(self, chosen: np.ndarray) -> Self:
        """All events of the chosen patients, int [m], rising; they are renumbered in this order."""
        number = np.full(self.n_patients, -1)
        number[chosen] = np.arange(len(chosen))
        kept = self.take(number[self.patient] >= 0)
        return replace(kept, patient=number[kept.patient], subject_id=self.subject_id[chosen])

    def shuffled(self, rng: np.random.Generator) -> Self:
        """Codes, each with its own value, dealt out again over all events: who has what and when is lost."""
        order = rng.permutation(len(self))
        return replace(self, code=self.code[order], value=self.value[order]).ordered()

    @property
    def is_timed(self) -> np.ndarray:
        """Whether each event has a time: bool [n]."""
        return ~np.isnan(self.hours)

    def timed(self) -> Self:
        """The events that have a time."""
        return self.take(self.is_timed)

    def with_number(self) -> Self:
        """The events that have a value and a known code."""
        return self.take(~np.isnan(self.value) & (self.code >= 0))

    def of_codes(self, codes: np.ndarray) -> tuple[Self, np.ndarray]:
        """The events of these codes, and the place of each one's code among them: int [m]."""
        rank = np.full(max(self.code.max(initial=-1), codes.max(initial=-1)) + 2, -1)
        rank[codes] = np.arange(len(codes))  # code -1 reads the last place, which stays -1
        place = rank[self.code]
        return self.take(place >= 0), place[place >= 0]

    def counts(self, codes: np.ndarray) -> np.ndarray:
        """Events of each patient with each code: int [n_patients, len(codes)]."""
        kept, place = self.of_codes(codes)
        cells = np.bincount(kept.patient * len(codes) + place, minlength=self.n_patients * len(codes))
        return cells.reshape(self.n_patients, len(codes))

    def carriers(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Patients and codes of all distinct pairs of the two, known codes only."""
        known = self.code >= 0
        pairs = np.unique(self.patient[known] * size + self.code[known])
        return pairs // size, pairs % size

    def span(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last hour of each patient, float [n_patients]; NaN without a timed event."""
        timed = self.timed()
        first, last = np.full(self.n_patients, np.nan), np.full(self.n_patients, np.nan)
        np.fmin.at(first, timed.patient, timed.hours)
        np.fmax.at(last, timed.patient, timed.hours)
        return first, last

    def gaps(self) -> tuple[np.ndarray, np.ndarray]:
        """Patients and hours of the steps between one time and the next different one."""
        timed = self.timed()
        step = np.diff(timed.hours)
        is_gap = (timed.patient[1:] == timed.patient[:-1]) & (step > 0)
        return timed.patient[1:][is_gap], step[is_gap]

    def first_time(self, is_chosen: np.ndarray) -> np.ndarray:
        """Hour of each patient's first timed event among the chosen, bool [n]; inf where there is none."""
        first = np.full(self.n_patients, np.inf)
        chosen = is_chosen & self.is_timed
        np.minimum.at(first, self.patient[chosen], self.hours[chosen])
        return first


def conformed(events: pd.DataFrame, role: str) -> pd.DataFrame:
    """The four MEDS columns with the types that `Timelines` needs; infinite values and odd dates are missing.

    Rows that name no patient or no code are left out.

    Raises
    ------
    SourceError
        A column is absent, or holds something else than MEDS says, or nothing is left.
    """
    if absent := [name for name in COLUMNS if name not in events.columns]:
        raise SourceError(f"the {role} events lack the column {', '.join(absent)}; MEDS events have it")
    events = events[list(COLUMNS)]
    is_whole = events["subject_id"].notna() & events["code"].notna()
    if not is_whole.all():
        events = events[is_whole]
    if not len(events):
        raise SourceError(f"the {role} events are none: no row names a patient and a code")
    try:
        value = pd.to_numeric(events["numeric_value"]).to_numpy(np.float64, na_value=np.nan)
        subject_id = events["subject_id"].to_numpy(np.int64)
    except (ValueError, TypeError):
        raise SourceError(f"column numeric_value or subject_id of the {role} events holds no numbers") from None
    code = events["code"].astype("category")
    if code.cat.categories.dtype.kind not in "OUT":
        code = code.cat.rename_categories(code.cat.categories.astype(str))
    return pd.DataFrame(
        {
            "subject_id": subject_id,
            "time": _times(events["time"], role),
            "code": code.array,
            "numeric_value": np.where(np.isfinite(value), value, np.nan),
        }
    )


def _times(column: pd.Series, role: str) -> np.ndarray:
    """Times as datetime64[us] in UTC, missing where there is none."""
    if column.isna().all():
        return np.full(len(column), np.datetime64("NaT", "us"))
    if pd.api.types.is_numeric_dtype(column):
        raise SourceError(f"column time of the {role} events holds numbers; MEDS wants timestamps")
    try:
        return pd.to_datetime(column, utc=True).dt.tz_localize(None).to_numpy().astype("datetime64[us]")
    except (ValueError, TypeError):
        raise SourceError(f"column time of the {role} events holds something that is no time") from None
