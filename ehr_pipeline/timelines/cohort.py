"""Mended events as the cohort that generators learn from: where each patient begins, and how long all are watched.

What belongs here: clocks of files that say nothing about theirs. What does not: cohorts with an index event.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from ehr_pipeline.errors import SourceError
from ehr_pipeline.generators.codec import MINIMUM_PATIENTS
from ehr_pipeline.generators.timelines import BIRTH, DAY_MINUTES, NEW_ORIGIN, Clock, TimelineCohort, events_frame
from ehr_pipeline.timelines.files import NO_TIME
from ehr_pipeline.timelines.mend import Events

MINUTE = 60_000_000
"""Microseconds."""
SHARED_SHARE, SHARED_PART = 0.9, 0.1
"""So many patients begin in so large a first part of the whole time, if all have one clock."""

MOST_YEARS = 30
"""A fit within a budget takes it as public that nobody is watched for longer."""


def cohort_of(events: Events, path_name: str) -> TimelineCohort:
    """The cohort of a file: each patient begins with the first event after birth, if they have no clock in common.

    The window is the time that `MINIMUM_PATIENTS` patients were watched, so that no single one tells it.

    Raises
    ------
    SourceError
        There are fewer than `MINIMUM_PATIENTS` patients with times.
    """
    patient = np.unique(events.subject_id, return_inverse=True)[1]
    is_timed = (events.time != NO_TIME) & (events.code != events.birth)
    n_patients = int(patient[-1]) + 1
    first, last = np.full(n_patients, np.iinfo(np.int64).max), np.full(n_patients, NO_TIME)
    np.minimum.at(first, patient[is_timed], events.time[is_timed])
    np.maximum.at(last, patient[is_timed], events.time[is_timed])
    has_times = last != NO_TIME
    if has_times.sum() < MINIMUM_PATIENTS:
        raise SourceError(f"{path_name} has fewer than {MINIMUM_PATIENTS} patients with times; nothing is learned")
    start = _shared_start(first[has_times], last[has_times])
    fallback = NEW_ORIGIN.astype(np.int64) if start is None else start
    origin = np.where(has_times, first, fallback) if start is None else np.full(n_patients, start)
    watched = np.sort(last[has_times] - origin[has_times])[-MINIMUM_PATIENTS]
    clock = Clock(
        start=NEW_ORIGIN if start is None else np.int64(start).astype("datetime64[us]"),
        is_shared=start is not None,
        window_minutes=int(-(-watched // MINUTE)),
    )
    # A birth of a patient without another time says no age.
    is_kept = has_times[patient] | (events.code != events.birth)
    events, time = events.keep(is_kept), events.time[is_kept]
    frame = events_frame(
        events.subject_id,
        np.where(time == NO_TIME, np.datetime64("NaT", "us"), time.astype("datetime64[us]")),
        pd.Categorical.from_codes(events.code, pd.Index(events.codes, dtype=object)),
        events.value,
        pd.Categorical.from_codes(events.text, pd.Index(events.texts, dtype=object)),
    )
    with_rows = np.unique(patient[is_kept])
    return TimelineCohort(events=frame, origin=origin[with_rows].astype("datetime64[us]"), clock=clock)


def own_clocks(events: Events, path_name: str) -> TimelineCohort:
    """The cohort of a file for a fit within a budget: each patient begins with the first event after birth.

    Nothing is looked up that all patients have in common: `MOST_YEARS` is as long as anyone is watched.
    Errors as `cohort_of`'s.
    """
    cohort = cohort_of(events, path_name)
    first = np.full(cohort.n_patients, np.datetime64("9999-01-01", "us"))
    is_timed = ~cohort.is_static & (cohort.events["code"] != BIRTH).to_numpy()
    np.minimum.at(first, cohort.patient[is_timed], cohort.events["time"].to_numpy()[is_timed])
    has_times = np.bincount(cohort.patient[is_timed], minlength=cohort.n_patients) > 0
    clock = Clock(start=NEW_ORIGIN, is_shared=False, window_minutes=MOST_YEARS * 365 * DAY_MINUTES)
    return replace(cohort, origin=np.where(has_times, first, NEW_ORIGIN), clock=clock)


def _shared_start(first: np.ndarray, last: np.ndarray) -> int | None:
    """Midnight of the day on which all patients begin together, in microseconds; None where they do not.

    Times are then relative to something already (an admission set to one date), and the first event may well come late.
    """
    day = DAY_MINUTES * MINUTE
    start = int(np.sort(first)[MINIMUM_PATIENTS - 1]) // day * day
    span = int(last.max()) - start
    begins_early = first - start <= SHARED_PART * span
    return start if (first >= start).all() and begins_early.mean() >= SHARED_SHARE else None
