"""Intensive care: `icu/icustays` and the hourly vital signs of `icu/chartevents`.

What belongs here: what is charted at the bedside, when, and its values. The first non-invasive systolic
pressure, the height and the weight of a patient's first stay are the case study's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ehr_pipeline.simulate import catalogue
from ehr_pipeline.simulate.course import Course
from ehr_pipeline.simulate.draw import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Ragged,
    at_seconds,
    autoregressive,
    hour_of_day,
    logistic,
)
from ehr_pipeline.simulate.encounters import Encounters
from ehr_pipeline.simulate.identifiers import CAREGIVER_IDS, Slot, transfer_id
from ehr_pipeline.simulate.patients import Patients, weight_kg
from ehr_pipeline.simulate.sites import Sites

NIGHT_LOG_ODDS = -1.0
CHARTING = {"heart_rate": 0.97, "respiratory_rate": 0.95, "spo2": 0.95, "pressure": 0.75, "temperature_f": 0.25}
HIGHEST_VALUE = 400.0


@dataclass(frozen=True, kw_only=True)
class Chartings:
    """One row per time at which a nurse charts; `rows.parent` is the row of the stay."""

    rows: Ragged
    time: np.ndarray
    severity: np.ndarray
    hours: np.ndarray
    """float64: hours since the stay began."""


def icustays_table(patients: Patients, stays: Encounters) -> pa.Table:
    """`icu/icustays`, one row per stay."""
    units = np.array([reason.unit for reason in catalogue.reasons().values()], dtype=object)[stays.reason]
    return pa.table(
        {
            "subject_id": patients.subject_id[stays.patient],
            "hadm_id": stays.hadm_id(patients),
            "stay_id": transfer_id(stays.number(patients), Slot.ICU),
            "first_careunit": units,
            "last_careunit": units,
            "intime": at_seconds(stays.icu_in),
            "outtime": at_seconds(stays.icu_out),
            "los": ((stays.icu_out - stays.icu_in) / DAY_S).round(6),
        }
    )


def draw_chartings(
    patients: Patients,
    sites: Sites,
    stays: Encounters,
    *,
    admission: np.ndarray,
    course: Course,
    rng: np.random.Generator,
) -> Chartings:
    """Times of charting: at the start of the stay, then at most once an hour, less at night, more for the sick.

    `admission` is the row of each stay in the course.
    """
    hours = Ragged.of((stays.icu_out - stays.icu_in) // HOUR_S)
    slot = stays.icu_in[hours.parent] + hours.position * HOUR_S
    severity = course.at(admission[hours.parent], slot)
    hour = hour_of_day(slot)
    is_night = (hour >= 22) | (hour < 6)
    measuring = sites.measuring_log_odds[patients.site[stays.patient[hours.parent]]]
    zeal = 0.7 + 0.9 * severity + NIGHT_LOG_ODDS * is_night + measuring
    is_charted = (rng.random(len(slot)) < logistic(zeal)) | (hours.position == 0)
    minute = np.where(hours.position == 0, rng.integers(1, 15, len(slot)), rng.integers(0, 60, len(slot)))
    time = (slot + minute * MINUTE_S)[is_charted]
    rows = Ragged.of(np.bincount(hours.parent[is_charted], minlength=len(stays)))
    return Chartings(
        rows=rows,
        time=time,
        severity=severity[is_charted],
        hours=(time - stays.icu_in[rows.parent]) / HOUR_S,
    )


def chartevents_table(
    patients: Patients, stays: Encounters, chartings: Chartings, rng: np.random.Generator
) -> pa.Table:
    """`icu/chartevents`, one row per item charted."""
    values = _values(patients, stays, chartings, rng)
    items = catalogue.bedside()
    names = list(items)
    matrix = np.stack([values[name] for name in names], axis=1)
    charting, item = np.nonzero(_is_charted(names, chartings, rng))
    stay = chartings.rows.parent[charting]
    number = matrix[charting, item]
    charttime = chartings.time[charting]
    units = pa.array([entry.unit for entry in items.values()])
    n = len(charting)
    return pa.table(
        {
            "subject_id": patients.subject_id[stays.patient[stay]],
            "hadm_id": stays.hadm_id(patients)[stay],
            "stay_id": transfer_id(stays.number(patients), Slot.ICU)[stay],
            "caregiver_id": CAREGIVER_IDS[(stay + charttime // DAY_S) % len(CAREGIVER_IDS)],
            "charttime": at_seconds(charttime),
            "storetime": at_seconds(charttime + rng.integers(1, 50, n) * MINUTE_S),
            "itemid": np.array([entry.item for entry in items.values()])[item],
            "value": _texts(item, number),
            "valuenum": number,
            "valueuom": units.take(pa.array(item)),
            "warning": np.zeros(n, dtype="int8"),
        }
    )


def d_items_table() -> pa.Table:
    """`icu/d_items`: the items charted."""
    items = list(catalogue.bedside().values())
    n = len(items)
    return pa.table(
        {
            "itemid": [entry.item for entry in items],
            "label": [entry.label for entry in items],
            "abbreviation": [entry.abbreviation for entry in items],
            "linksto": ["chartevents"] * n,
            "category": [entry.category for entry in items],
            "unitname": pa.array([entry.unit for entry in items], pa.string()),
            "param_type": [entry.kind for entry in items],
            "lownormalvalue": pa.nulls(n, pa.float64()),
            "highnormalvalue": pa.nulls(n, pa.float64()),
        }
    )


def _is_charted(names: list[str], chartings: Chartings, rng: np.random.Generator) -> np.ndarray:
    """What is charted, of shape (n_chartings, n_items): the first charting of a stay holds every item."""
    n = len(chartings.time)
    shares = {name: np.full(n, share) for name, share in CHARTING.items()}
    shares["coma_scale"] = logistic(-1.4 + 0.6 * chartings.severity)
    together = dict.fromkeys(("systolic_bp", "diastolic_bp", "mean_bp"), "pressure")
    together |= dict.fromkeys(("gcs_eye", "gcs_verbal", "gcs_motor"), "coma_scale")
    together |= {name: name for name in CHARTING if name != "pressure"}
    drawn = {name: rng.random(n) < share for name, share in shares.items()}
    first_only = np.zeros(n, dtype=bool)
    charted = np.stack([drawn[together[name]] if name in together else first_only for name in names], axis=1)
    return charted | (chartings.rows.position == 0)[:, None]


def _values(
    patients: Patients, stays: Encounters, chartings: Chartings, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Value of each item at each charting, float64 of shape (n_chartings,), on the item's own resolution."""
    rows, s, hours = chartings.rows, chartings.severity, chartings.hours
    stay, n_stays = rows.parent, len(stays)

    def noise(sd: float, persistence: float = 0.8) -> np.ndarray:
        return sd * autoregressive(rows, persistence, rng)

    def own(sd: float) -> np.ndarray:
        return rng.normal(0, sd, n_stays)[stay]

    fever = np.array([reason.fever for reason in catalogue.reasons().values()])[stays.reason[stay]]
    daily = np.cos((hour_of_day(chartings.time) - 16) / 24 * 2 * np.pi)
    heart_rate = 80 + own(9) + 7 * s + 2.5 * daily + 3 * fever + noise(6)
    systolic = _systolic(patients, stays, chartings, -4 * s + 2 * daily + noise(8), rng)
    diastolic = np.minimum(0.42 * systolic + 14 + own(5) + noise(4), systolic - 10).clip(20, 150).round()
    mean = ((systolic + 2 * diastolic) / 3 + rng.normal(0, 1.5, len(s))).round().clip(diastolic, systolic)
    coma = s + own(0.5) + noise(0.5, 0.9)
    patient = stays.patient[stay]
    weight = weight_kg(patients.medicore["bmi"].to_numpy(), patients.height_cm)[patient]
    drift = np.where(stays.is_first_admission[stay], 1.0, 1 + own(0.04))
    return {
        "heart_rate": heart_rate.round().clip(35, 210),
        "systolic_bp": systolic,
        "diastolic_bp": diastolic,
        "mean_bp": mean,
        "respiratory_rate": (17.5 + own(2) + 2.2 * s + noise(2)).round().clip(6, 50),
        "spo2": (97.3 + own(1) - 1.2 * s.clip(0, None) + noise(1.2)).round().clip(72, 100),
        "temperature_f": (98.2 + 0.4 * daily + fever * np.exp(-hours / 48) + noise(0.5, 0.9)).round(1).clip(93, 106),
        "gcs_eye": 4.0 - np.digitize(coma, [1.6, 2.3, 3.0]),
        "gcs_verbal": 5.0 - np.digitize(coma, [1.1, 1.8, 2.3, 2.9]),
        "gcs_motor": 6.0 - np.digitize(coma, [1.7, 2.3, 2.8, 3.3, 3.8]),
        "weight_kg": (weight * drift).round(1).clip(25, 350),
        "height_cm": patients.height_cm[patient],
    }


def _systolic(
    patients: Patients, stays: Encounters, chartings: Chartings, wander: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Systolic pressure that starts at the patient's own value and drifts half-way towards 118 mmHg.

    At the first charting of a first stay it is the case study's value exactly.
    """
    rows = chartings.rows
    stay = rows.parent
    at_start = patients.medicore["systolic_bp"].to_numpy()[stays.patient]
    at_start = at_start + np.where(stays.is_first_admission, 0.0, rng.normal(0, 10, len(stays)))
    kept = 0.5 + 0.5 * np.exp(-chartings.hours / 24)
    level = 118 + (at_start[stay] - 118) * kept + wander - wander[rows.start][stay]
    return (
        np.where((rows.position == 0) & stays.is_first_admission[stay], at_start[stay], level.round())
        .clip(55, 250)
        .round()
    )


def _texts(item: np.ndarray, number: np.ndarray) -> pa.Array:
    """`value` as charted: the words of an item that has words, else the number."""
    items = list(catalogue.bedside().values())
    words = [text for entry in items for text in entry.texts]
    numbers = [f"{tenths / 10:g}" for tenths in range(int(HIGHEST_VALUE * 10))]
    first_word = np.cumsum([0] + [len(entry.texts) for entry in items])[:-1] + len(numbers)
    has_words = np.array([bool(entry.texts) for entry in items])
    position = np.where(has_words[item], first_word[item] + number - 1, (number * 10).round())
    return pa.array(numbers + words).take(pa.array(position.astype("int32")))
