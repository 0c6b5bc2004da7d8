"""Distinct times of patients as rows, and what each row knows of those before it.

What belongs here: from events in order to rows. What does not: what rows hold (`record_arrays.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from ehr_pipeline.generators.codec import MINIMUM_PATIENTS

STAMP_QUANTILE = 0.995
"""Share of patients whose time stamps are all learned."""
MOST_STAMPS = 4096


@dataclass(frozen=True, kw_only=True)
class Stamps:
    """Distinct times of patients: `patient` and `minute` of each; of each kept event, its stamp."""

    patient: np.ndarray
    minute: np.ndarray
    most: int
    is_kept: np.ndarray
    of_event: np.ndarray
    is_cut: np.ndarray

    @classmethod
    def of(cls, patient: np.ndarray, minute: np.ndarray, n_patients: int) -> Self:
        """Of events in order of patient and minute."""
        is_new = np.ones(len(patient), dtype=bool)
        is_new[1:] = (patient[1:] != patient[:-1]) | (minute[1:] != minute[:-1])
        counts = np.bincount(patient[is_new], minlength=n_patients)
        reached = np.sort(counts)[-MINIMUM_PATIENTS:][0]
        most = int(min(MOST_STAMPS, reached, np.ceil(np.quantile(counts, STAMP_QUANTILE))))
        stamp = np.cumsum(is_new) - 1
        place = stamp - (np.cumsum(counts) - counts)[patient]
        is_kept = place < most
        is_stamp_kept = is_kept[is_new]
        return cls(
            patient=patient[is_new][is_stamp_kept],
            minute=minute[is_new][is_stamp_kept],
            most=most,
            is_kept=is_kept,
            of_event=(np.cumsum(is_stamp_kept) - 1)[stamp[is_kept]],
            is_cut=counts > most,
        )


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of stamps and ends; `of_stamp` is the row of each stamp."""

    patient: np.ndarray
    minute: np.ndarray
    before: np.ndarray
    is_end: np.ndarray
    first: np.ndarray
    n_rows: np.ndarray
    of_stamp: np.ndarray

    @classmethod
    def of(cls, stamps: Stamps, until: np.ndarray) -> Self:
        """One row per stamp, and one per patient at the minute `until`."""
        n_patients = len(until)
        n_rows = np.bincount(stamps.patient, minlength=n_patients) + 1
        first = np.cumsum(n_rows) - n_rows
        of_stamp = np.arange(len(stamps.patient)) + stamps.patient  # so many ends come before
        n = int(n_rows.sum())
        minute, is_end = np.empty(n, dtype=np.int64), np.ones(n, dtype=bool)
        minute[of_stamp], is_end[of_stamp] = stamps.minute, False
        minute[first + n_rows - 1] = until
        before = np.concatenate([[0], minute[:-1]])
        before[first] = 0
        patient = np.repeat(np.arange(n_patients), n_rows)
        return cls(
            patient=patient, minute=minute, before=before, is_end=is_end, first=first, n_rows=n_rows, of_stamp=of_stamp
        )


def known_before(columns: dict[str, np.ndarray], told: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
    """What each row knows of each feature's earlier events: columns (R, K)."""
    mask, z, is_number = columns["mask"], columns["z"], columns["is_number"]
    n, n_features = mask.shape
    place, first = np.arange(n), rows.first[rows.patient]
    shape = (n, n_features)
    found = {
        "is_same": np.zeros(shape, dtype=bool),
        "last_z": np.zeros(shape, dtype=np.float32),
        "last_minute": np.full(shape, -1, dtype=np.int32),
        "mean_z": np.zeros(shape, dtype=np.float32),
        "n_before": np.zeros(shape, dtype=np.int16),
        "n_seen": np.zeros(shape, dtype=np.int16),
    }
    for k in range(n_features):
        event, number = (latest_before(one[:, k], place, first) for one in (mask, is_number))
        has_event, has_number = event >= 0, number >= 0
        found["last_minute"][has_event, k] = rows.minute[event[has_event]]
        found["last_z"][has_number, k] = z[number[has_number], k]
        found["is_same"][has_number, k] = told[has_number, k] == told[number[has_number], k]
        total = np.concatenate([[0.0], np.cumsum(z[:, k], dtype=np.float64)])
        n_before, n_seen = (
            count[place] - count[first]
            for count in (np.concatenate([[0], np.cumsum(one[:, k])]) for one in (is_number, mask))
        )
        found["mean_z"][:, k] = (total[place] - total[first]) / np.maximum(n_before, 1)
        found["n_before"][:, k] = n_before.clip(max=np.iinfo(np.int16).max)
        found["n_seen"][:, k] = n_seen.clip(max=np.iinfo(np.int16).max)
    return found


def latest_before(is_there: np.ndarray, place: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Latest row before each one, of the same patient, where `is_there`; -1 without one."""
    latest = np.maximum.accumulate(np.where(is_there, place, -1))
    latest = np.concatenate([[-1], latest[:-1]])
    return np.where(latest >= first, latest, -1)
