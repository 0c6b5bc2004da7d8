"""A stay as one row: what the attacks on tables see of timelines.

What belongs here: which summaries, on the real patients' codes. What does not: any attack; what the order of events
gives away (`stretches.py`).

Per code with numbers: events, first, last, mean, least and greatest value, first and last hour. Per code without:
whether it is there, and when first. Over all: events, length, distinct times. So whoever copies a patient's events
copies the row, and the leaks that are planted among rows stand for leaks of events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ehr_pipeline.evaluate.encoding import Encoded, Encoding
from ehr_pipeline.evaluate.timelines.stream import Timelines
from ehr_pipeline.record import Column, Schema

N_VALUED, N_PLAIN = 40, 60
"""Codes with numbers, and without, that are summarised: those of the most patients."""
TIMES = ("first hour", "last hour")
VALUES = ("first", "last", "mean", "least", "greatest")
OVERALL = ("events", "length", "distinct times")


@dataclass(frozen=True, eq=False)
class StaySummaries:
    """How timelines on `codes` become rows of numbers and flags.

    Attributes
    ----------
    valued, plain
        Places of the codes that are summarised by numbers, and by whether they are there.
    """

    codes: pd.Index
    valued: np.ndarray
    plain: np.ndarray

    @classmethod
    def of(cls, train: Timelines, holdout: Timelines, codes: pd.Index) -> StaySummaries:
        """The codes of the most real patients, whichever side they are on."""
        size = len(codes)
        carriers, numbers = np.zeros(size), np.zeros(size)
        for side in (train, holdout):
            carriers += np.bincount(side.carriers(size)[1], minlength=size)
            numbers += np.bincount(side.with_number().carriers(size)[1], minlength=size)
        has_numbers = 2 * numbers > carriers
        return cls(codes, _top(carriers, has_numbers, N_VALUED), _top(carriers, ~has_numbers, N_PLAIN))

    @property
    def schema(self) -> Schema:
        """Numbers, then flags. What is counted stands last in a name, so that no two codes make the same."""
        named = [f"{self.codes[place]}: {what}" for place in self.valued for what in ("events", *TIMES, *VALUES)]
        named += [f"{self.codes[place]}: first hour" for place in self.plain]
        numbers = [Column(name=name, kind="continuous") for name in (*OVERALL, *named)]
        flags = [Column(name=f"{self.codes[place]}: there", kind="binary") for place in self.plain]
        return Schema(columns=(*numbers, *flags))

    def frame(self, timelines: Timelines) -> pd.DataFrame:
        """One row per timeline, in the columns of `schema`; NaN where a code is absent."""
        stays = timelines.take(np.lexsort((timelines.value, timelines.code, _hours(timelines), timelines.patient)))
        first, last = stays.span()
        n_times = np.bincount(stays.gaps()[0], minlength=stays.n_patients) + ~np.isnan(last)
        columns = [np.bincount(stays.patient, minlength=stays.n_patients), last - first, n_times]
        for place in self.valued:
            columns += _summary(stays, int(place), has_values=True)
        plain = [_summary(stays, int(place), has_values=False) for place in self.plain]
        columns += [hours for _, hours, _ in plain]
        columns += [(n > 0).astype(float) for n, _, _ in plain]
        return pd.DataFrame(dict(zip(self.schema.names, columns, strict=True)))

    def learn(self, train: pd.DataFrame, holdout: pd.DataFrame) -> Encoding:
        """How both sides' rows become arrays."""
        return Encoding.learn(pd.concat([train, holdout], ignore_index=True), self.schema)

    def encode(self, encoding: Encoding, timelines: Timelines, owner: np.ndarray | None = None) -> Encoded:
        """Rows as arrays; `owner` says whose timeline each is, int64 [n_patients]."""
        return encoding.encode(self.frame(timelines), owner)


def _summary(stays: Timelines, code: int, *, has_values: bool) -> list[np.ndarray]:
    """Events, first and last hour, and values in the order of `VALUES` if asked: float64 [n_patients] each."""
    chosen = np.flatnonzero(stays.code == code)
    patient, starts, n = np.unique(stays.patient[chosen], return_index=True, return_counts=True)

    def spread(numbers: np.ndarray, default: float = np.nan) -> np.ndarray:
        found = np.full(stays.n_patients, default)
        found[patient] = numbers
        return found

    hours, ends = stays.hours[chosen], starts + n - 1
    found = [spread(n, 0.0), spread(hours[starts]), spread(hours[ends])]
    if not has_values:
        return found
    value = stays.value[chosen]
    is_number = ~np.isnan(value)
    patient, starts, n = np.unique(stays.patient[chosen][is_number], return_index=True, return_counts=True)
    value = value[is_number]
    if not len(value):
        return found + [np.full(stays.n_patients, np.nan)] * len(VALUES)
    mean = np.add.reduceat(value, starts) / n
    least, greatest = np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)
    return found + [spread(one) for one in (value[starts], value[starts + n - 1], mean, least, greatest)]


def _hours(timelines: Timelines) -> np.ndarray:
    return np.where(np.isnan(timelines.hours), -np.inf, timelines.hours)


def _top(carriers: np.ndarray, is_eligible: np.ndarray, n: int) -> np.ndarray:
    """Places of the most carried eligible codes, the most carried first."""
    order = np.argsort(np.where(is_eligible, -carriers, 0.0), kind="stable")[:n]
    return order[is_eligible[order] & (carriers[order] > 0)]
