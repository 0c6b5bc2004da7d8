"""Small stays with structure: vital signs that go together and drift, laboratory values of some, death of the sick."""

from __future__ import annotations

import numpy as np
import pandas as pd

ORIGIN = np.datetime64("2000-01-01T00:00", "us")
COLUMNS = ("subject_id", "time", "code", "numeric_value")


def stays(n: int, seed: int, first_id: int = 1, hours: int = 48) -> pd.DataFrame:
    """Events of `n` patients: static age, hourly pressures and heart rate, creatinine every 12 hours, some deaths."""
    rng = np.random.default_rng(seed)
    subject_id = np.arange(first_id, first_id + n)
    sick = rng.normal(size=n)
    age = np.round(np.clip(60 + 12 * rng.normal(size=n), 18, 95))
    parts = [_events(subject_id, np.full(n, np.nan), "Age", age)]
    patient, hour = (grid.ravel() for grid in np.meshgrid(np.arange(n), np.arange(1, hours, 2), indexing="ij"))
    minute = 60 * hour + rng.integers(0, 60, len(hour))
    drift = rng.normal(scale=2, size=(n, len(hour) // n)).cumsum(axis=1).ravel()
    rate = 80 + 10 * sick[patient] + drift + 0.2 * hour * (sick[patient] > 0.8) + 3 * rng.normal(size=len(hour))
    diastolic = 65 - 4 * sick[patient] + 5 * rng.normal(size=len(hour))
    systolic = diastolic + 45 + 4 * rng.normal(size=len(hour))
    is_there = rng.random(len(hour)) < 0.8
    for code, value in (("HR", rate), ("SysABP", systolic), ("DiasABP", diastolic)):
        parts.append(_events(subject_id[patient[is_there]], minute[is_there], code, np.round(value[is_there])))
    has_lab = np.isin(patient, np.flatnonzero(rng.random(n) < 0.7)) & (hour % 12 == 7)
    creatinine = np.round(np.exp(0.1 + 0.4 * sick[patient] + 0.1 * rng.normal(size=len(hour))), 1)
    parts.append(_events(subject_id[patient[has_lab]], minute[has_lab], "Creatinine", creatinine[has_lab]))
    dies = rng.random(n) < 1 / (1 + np.exp(2.2 - 2.2 * sick))
    at = np.full(int(dies.sum()), 60 * hours + 1)
    parts.append(_events(subject_id[dies], at, "MEDS_DEATH", np.full(len(at), np.nan)))
    return pd.concat(parts, ignore_index=True).sort_values(["subject_id", "time"], na_position="first", kind="stable")


def events(*rows: tuple) -> pd.DataFrame:
    """Rows of (subject_id, hour or None, code, value or None) as MEDS events on one clock."""
    subject_id, hour, code, value = (list(column) for column in zip(*rows, strict=True))
    hours = np.array([np.nan if one is None else one for one in hour], dtype=float)
    numbers = np.array([np.nan if one is None else one for one in value], dtype=float)
    return _events(np.array(subject_id), 60 * hours, code, numbers)


def _events(subject_id: np.ndarray, minute: np.ndarray, code: str | list[str], value: np.ndarray) -> pd.DataFrame:
    minute = np.asarray(minute, dtype=float)
    is_static = np.isnan(minute)
    time = ORIGIN + (np.where(is_static, 0, minute) * 6e7).astype("timedelta64[us]")
    time[is_static] = np.datetime64("NaT")
    return pd.DataFrame({"subject_id": subject_id, "time": time, "code": code, "numeric_value": value})


def shuffled(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Codes, each with its value, dealt out again over the events."""
    order = np.random.default_rng(seed).permutation(len(frame))
    return frame.assign(code=frame["code"].to_numpy()[order], numeric_value=frame["numeric_value"].to_numpy()[order])
