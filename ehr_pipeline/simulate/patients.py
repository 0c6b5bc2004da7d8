"""The patients of one block: the case study's columns, long-term conditions, place in time, site.

What belongs here: what stays with a patient. What happens to them is in `encounters.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from ehr_pipeline.simulate import catalogue
from ehr_pipeline.simulate.draw import log_odds, logistic, pick
from ehr_pipeline.simulate.medicore import simulate_medicore
from ehr_pipeline.simulate.sites import Sites

FIRST_SUBJECT_ID = 10_000_000
FIRST_YEAR, LAST_YEAR = 2110, 2190
FIRST_REAL_YEAR, LAST_REAL_YEAR = 2008, 2019
YEAR_GROUPS = ("2008 - 2010", "2011 - 2013", "2014 - 2016", "2017 - 2019")
CENTRES = {"age": 55.0, "bmi": 28.0, "cholesterol": 180.0, "creatinine": 0.9}
RACES = {
    "WHITE": 0.6,
    "BLACK/AFRICAN AMERICAN": 0.14,
    "HISPANIC/LATINO - PUERTO RICAN": 0.04,
    "HISPANIC OR LATINO": 0.03,
    "ASIAN": 0.03,
    "ASIAN - CHINESE": 0.03,
    "WHITE - OTHER EUROPEAN": 0.03,
    "OTHER": 0.04,
    "UNKNOWN": 0.04,
    "PATIENT DECLINED TO ANSWER": 0.02,
}
MARITAL_STATUS_YOUNG = {"SINGLE": 0.6, "MARRIED": 0.35, "DIVORCED": 0.05}
MARITAL_STATUS_OLD = {"SINGLE": 0.22, "MARRIED": 0.48, "DIVORCED": 0.1, "WIDOWED": 0.2}
INSURANCE_YOUNG = {"Other": 0.68, "Medicaid": 0.2, "Medicare": 0.12}
INSURANCE_OLD = {"Medicare": 0.72, "Other": 0.28}
LANGUAGE = {"ENGLISH": 0.9, "?": 0.1}


@dataclass(frozen=True, kw_only=True)
class Patients:
    """One row per patient; every array has shape (n,) unless it says otherwise.

    Attributes
    ----------
    medicore
        The twelve columns of the case study.
    subject_id, site
        int64; int64 number of the site.
    first_day
        datetime64[D]: the day of the first admission, which carries the decimal of the age.
    age_years
        int64: whole years of age in the year of `first_day` (its anchor year).
    real_year
        int64: the true year of `first_day`, before dates were shifted.
    has
        dict of condition name to bool arrays, the case study's columns among them.
    frailty
        float64, mean 0 and unit variance: what makes some sicker than others, again and again.
    laboratory_level
        float64 (n, n_items): the patient's own level of each laboratory item, in standard deviations.
    """

    medicore: pd.DataFrame
    subject_id: np.ndarray
    site: np.ndarray
    first_day: np.ndarray
    age_years: np.ndarray
    real_year: np.ndarray
    has: dict[str, np.ndarray]
    frailty: np.ndarray
    laboratory_level: np.ndarray
    height_cm: np.ndarray
    race: np.ndarray
    marital_status: np.ndarray
    insurance: np.ndarray
    language: np.ndarray

    def __len__(self) -> int:
        return len(self.subject_id)


def draw_patients(first: int, n: int, sites: Sites, rngs: tuple[np.random.Generator, np.random.Generator]) -> Patients:
    """Patients number `first` to `first + n - 1`.

    The first generator draws the case study and nothing else, so that its columns owe nothing to the rest;
    the second draws all else.
    """
    medicore = simulate_medicore(n, rngs[0])
    rng = rngs[1]
    age, female = medicore["age"].to_numpy(), medicore["sex"].to_numpy() == "F"
    site = rng.choice(len(sites.share), size=n, p=sites.share)
    first_day, age_years = _first_day(age, rng)
    has = _conditions(medicore, rng)
    is_old = age >= 65
    return Patients(
        medicore=medicore,
        subject_id=FIRST_SUBJECT_ID + first + np.arange(n),
        site=site,
        first_day=first_day,
        age_years=age_years,
        real_year=rng.integers(FIRST_REAL_YEAR, LAST_REAL_YEAR + 1, n),
        has=has,
        frailty=rng.normal(size=n),
        laboratory_level=rng.normal(size=(n, len(catalogue.laboratory()))) + sites.laboratory_offset[site],
        height_cm=np.where(female, rng.normal(162, 6.5, n), rng.normal(176, 7, n)).round().clip(142, 208),
        race=pick(RACES, n, rng),
        marital_status=np.where(is_old, pick(MARITAL_STATUS_OLD, n, rng), pick(MARITAL_STATUS_YOUNG, n, rng)),
        insurance=np.where(is_old, pick(INSURANCE_OLD, n, rng), pick(INSURANCE_YOUNG, n, rng)),
        language=pick(LANGUAGE, n, rng),
    )


def weight_kg(bmi: np.ndarray, height_cm: np.ndarray) -> np.ndarray:
    """Weight at one decimal: heights of 142 cm and more keep the BMI's own decimal through the rounding."""
    return (bmi * np.square(height_cm / 100)).round(1)


def _first_day(age: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A shifted day and the whole years of age that together give the age back at one decimal.

    age = years + (day of year - 1) / days in the year; the day is drawn inside the band of 0.1 year that
    rounds to `age`, less a day on either side.
    """
    n = len(age)
    exact = (age + rng.uniform(-0.045, 0.045, n)).clip(18, None)
    years = np.floor(exact).astype("int64")
    year_start = (rng.integers(FIRST_YEAR, LAST_YEAR + 1, n) - 1970).astype("datetime64[Y]")
    january_first = year_start.astype("datetime64[D]")
    days_in_year = ((year_start + 1).astype("datetime64[D]") - january_first).astype("int64")
    day = np.minimum(((exact - years) * days_in_year).round().astype("int64"), days_in_year - 1)
    return january_first + day, years


def _conditions(medicore: pd.DataFrame, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Who has what; the case study's conditions are entries of their own."""
    n = len(medicore)
    has = {name: medicore[name].to_numpy() == 1 for name in ("diabetes", "hypertension", "cvd", "adverse_event")}
    entries = catalogue.conditions()
    last_of = {entry.of: name for name, entry in entries.items() if entry.of}
    taken = {column: np.zeros(n, dtype=bool) for column in last_of}
    for name, entry in entries.items():
        mine = rng.random(n) < _probability(entry, medicore)
        if entry.sex:
            mine &= medicore["sex"].to_numpy() == entry.sex
        if entry.of:
            if last_of[entry.of] == name:
                mine |= ~taken[entry.of]
            mine &= has[entry.of]
            taken[entry.of] |= mine
        has[name] = mine
    return has


def _probability(entry: catalogue.LongTermCondition, medicore: pd.DataFrame) -> np.ndarray:
    if entry.share == 0:
        return np.zeros(len(medicore))
    total = np.full(len(medicore), log_odds(entry.share))
    for column, slope in entry.log_odds.items():
        total += slope * (medicore[column].to_numpy() - CENTRES[column])
    return logistic(total)


def patients_table(patients: Patients, dod: np.ndarray) -> pa.Table:
    """`hosp/patients`, one row per patient; `dod` is datetime64[D] with NaT for the living."""
    anchor_year = patients.first_day.astype("datetime64[Y]").astype("int64") + 1970
    group = (patients.real_year - FIRST_REAL_YEAR) // 3
    return pa.table(
        {
            "subject_id": patients.subject_id,
            "gender": patients.medicore["sex"].to_numpy().astype(object),
            "anchor_age": patients.age_years,
            "anchor_year": anchor_year,
            "anchor_year_group": np.array(YEAR_GROUPS, dtype=object)[group],
            "dod": dod,
        }
    )
