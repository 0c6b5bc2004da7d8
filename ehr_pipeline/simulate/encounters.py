"""What happens to each patient: admissions and emergency visits, one after the other, until the last or death.

What belongs here: when someone comes, why, how sick, for how long, through which doors, and how it ends.
What does not: what is measured, coded or prescribed meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ehr_pipeline.simulate import catalogue
from ehr_pipeline.simulate.draw import DAY_S, HOUR_S, MINUTE_S, choose, logistic
from ehr_pipeline.simulate.patients import FIRST_SUBJECT_ID, Patients
from ehr_pipeline.simulate.sites import Sites

MOST_ENCOUNTERS = 5
EARLIER_VISIT, FIRST_ADMISSION = 0, 1  # ordinals; what comes later counts on from there
EARLIER_VISIT_SHARE, EARLIER_VISIT_AGE = 0.5, 20.0
SHARE_OF_LATER_ADMISSIONS = 0.5
FIRST_HADM_ID = 20_000_000
ARRIVALS_BY_HOUR = np.array([3, 2, 2, 2, 2, 2, 3, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8, 8, 7, 7, 6, 5, 5, 4], dtype=float)
ICD10_START = 2015 + 9 / 12


@dataclass(frozen=True, kw_only=True)
class Encounters:
    """One row per encounter, by patient and then in time; every array has shape (n,).

    Times are int64 seconds since 1970 on whole minutes. A field that an encounter does not have (the ICU times
    of a stay without ICU, the admission of a visit that ended in the emergency department) is -1.

    Attributes
    ----------
    patient, ordinal
        Row of the patient in the block; place among the patient's encounters, `FIRST_ADMISSION` for the first
        admission, which everyone has.
    reason
        Number of the reason, in the order of `catalogue.reasons()`.
    severity
        float64: latent severity on arrival, about mean 0 and unit variance.
    emergency_in, emergency_out, admit, discharge, icu_in, icu_out
        Times. The ED stay ends after admission (boarding).
    dies
        bool: dies at `discharge`.
    icd_version
        9 or 10.
    """

    patient: np.ndarray
    ordinal: np.ndarray
    reason: np.ndarray
    severity: np.ndarray
    emergency_in: np.ndarray
    emergency_out: np.ndarray
    admit: np.ndarray
    discharge: np.ndarray
    icu_in: np.ndarray
    icu_out: np.ndarray
    dies: np.ndarray
    icd_version: np.ndarray

    def __len__(self) -> int:
        return len(self.patient)

    @property
    def is_admission(self) -> np.ndarray:
        """Whether the patient was admitted."""
        return self.admit >= 0

    @property
    def is_first_admission(self) -> np.ndarray:
        """Whether it is the admission that carries the case study's columns."""
        return self.ordinal == FIRST_ADMISSION

    @property
    def end(self) -> np.ndarray:
        """When the encounter ended."""
        return np.maximum(self.discharge, self.emergency_out)

    def take(self, rows: np.ndarray) -> Encounters:
        """The rows given, by number or by mask."""
        return Encounters(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def number(self, patients: Patients) -> np.ndarray:
        """A number for each encounter that no other encounter of the hospital has."""
        return (patients.subject_id[self.patient] - FIRST_SUBJECT_ID) * MOST_ENCOUNTERS + self.ordinal

    def hadm_id(self, patients: Patients) -> np.ndarray:
        """Identifier of the admission (meaningless for visits)."""
        return FIRST_HADM_ID + self.number(patients)


def draw_encounters(patients: Patients, sites: Sites, rng: np.random.Generator) -> Encounters:
    """All encounters: for some an emergency visit, then everyone's first admission, then what follows.

    The first admission is on `patients.first_day` and has an ICU stay.
    """
    n = len(patients)
    weights = _reason_weights(patients, sites)
    n_later = rng.poisson(np.exp(-0.5 + 0.4 * patients.frailty + 0.4 * patients.has["adverse_event"]))
    first_day = patients.first_day.astype("int64")
    goes_on = (rng.random(n) < EARLIER_VISIT_SHARE) & (patients.medicore["age"].to_numpy() > EARLIER_VISIT_AGE)
    day = first_day - rng.integers(20, 400, n)
    steps = []
    for ordinal in range(MOST_ENCOUNTERS):
        # Everyone draws at each step, so that one patient's fate does not move another's numbers.
        is_admission = rng.random(n) < SHARE_OF_LATER_ADMISSIONS
        if ordinal <= FIRST_ADMISSION:
            is_admission = np.full(n, ordinal == FIRST_ADMISSION)
        step = _draw_step(patients, sites, weights, ordinal=ordinal, is_admission=is_admission, day=day, rng=rng)
        steps.append(step.take(goes_on))
        gap_days = _gap_days(patients, rng)
        if ordinal < FIRST_ADMISSION:
            day, goes_on = first_day, np.ones(n, dtype=bool)
        else:
            day = step.end // DAY_S + gap_days
            goes_on = goes_on & ~step.dies & (n_later > ordinal - FIRST_ADMISSION)
    names = [field.name for field in fields(Encounters)]
    joined = Encounters(**{name: np.concatenate([getattr(step, name) for step in steps]) for name in names})
    return joined.take(np.lexsort((joined.ordinal, joined.patient)))


def _gap_days(patients: Patients, rng: np.random.Generator) -> np.ndarray:
    """Whole days until someone comes again, two at least: within a month more often after a complication."""
    n = len(patients)
    is_soon = rng.random(n) < logistic(-1.4 + 0.9 * patients.has["adverse_event"] + 0.5 * patients.frailty)
    return 2 + np.where(is_soon, rng.uniform(0, 28, n), rng.exponential(280, n)).astype("int64")


def date_of_death(patients: Patients, encounters: Encounters, rng: np.random.Generator) -> np.ndarray:
    """datetime64[D] of shape (n_patients,), NaT for the living: in hospital, or within a year of the last stay."""
    n = len(patients)
    last_day = np.zeros(n, dtype="int64")
    np.maximum.at(last_day, encounters.patient, encounters.end // DAY_S)
    in_hospital = np.zeros(n, dtype=bool)
    in_hospital[encounters.patient[encounters.dies]] = True
    age = patients.medicore["age"].to_numpy()
    afterwards = rng.random(n) < logistic(-3.6 + 0.7 * patients.frailty + 0.04 * (age - 60))
    dod = np.where(in_hospital, last_day, last_day + rng.integers(1, 365, n)).astype("datetime64[D]")
    return np.where(in_hospital | afterwards, dod, np.datetime64("NaT"))


def _reason_weights(patients: Patients, sites: Sites) -> dict[str, np.ndarray]:
    """For admissions and visits: weight of each reason, of shape (n_patients, n_reasons)."""
    entries = list(catalogue.reasons().values())
    always = np.ones(len(patients), dtype=bool)
    eligible = np.stack([patients.has[entry.of] if entry.of else always for entry in entries], axis=1)
    factor = eligible * sites.reason_factor[patients.site]
    return {kind: factor * np.array([entry.weight[kind] for entry in entries]) for kind in ("admission", "visit")}


def _draw_step(
    patients: Patients,
    sites: Sites,
    weights: dict[str, np.ndarray],
    *,
    ordinal: int,
    is_admission: np.ndarray,
    day: np.ndarray,
    rng: np.random.Generator,
) -> Encounters:
    """One encounter for every patient, on the day given (days since 1970)."""
    n = len(patients)
    reason = choose(np.where(is_admission[:, None], weights["admission"], weights["visit"]), rng)
    entries = list(catalogue.reasons().values())
    severity = (
        0.55 * patients.frailty
        + rng.normal(0, 0.7, n)
        + np.array([entry.severity for entry in entries])[reason]
        + sites.severity_shift[patients.site]
        + np.where(is_admission, 0.0, -0.3)
    )
    arrival = day * DAY_S + rng.choice(24, size=n, p=ARRIVALS_BY_HOUR / ARRIVALS_BY_HOUR.sum()) * HOUR_S
    arrival = arrival + rng.integers(0, 60, n) * MINUTE_S
    by_emergency = ~is_admission | (rng.random(n) < np.array([entry.emergency for entry in entries])[reason])
    wait, boarding, visit = rng.uniform(1.5, 8, n), rng.uniform(0.3, 2.5, n), rng.gamma(3, 1.5, n) + 0.7
    emergency_in = np.where(is_admission, arrival - _seconds(wait), arrival)
    emergency_out = np.where(is_admission, arrival + _seconds(boarding), arrival + _seconds(visit))
    stay = _draw_stay(patients, ordinal, severity, np.where(by_emergency, emergency_out, arrival), rng)
    months = (day.astype("datetime64[D]").astype("datetime64[M]")).astype("int64")
    shift = months / 12 - patients.first_day.astype("datetime64[Y]").astype("int64")
    return Encounters(
        patient=np.arange(n),
        ordinal=np.full(n, ordinal),
        reason=reason,
        severity=severity,
        emergency_in=np.where(by_emergency, emergency_in, -1),
        emergency_out=np.where(by_emergency, emergency_out, -1),
        admit=np.where(is_admission, arrival, -1),
        discharge=np.where(is_admission, stay["discharge"], -1),
        icu_in=np.where(is_admission, stay["icu_in"], -1),
        icu_out=np.where(is_admission, stay["icu_out"], -1),
        dies=is_admission & stay["dies"],
        icd_version=np.where(patients.real_year + shift >= ICD10_START, 10, 9),
    )


def _draw_stay(
    patients: Patients, ordinal: int, severity: np.ndarray, start: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """ICU stay, discharge and death of an admission whose first bed is taken at `start`.

    Everyone's first admission has an ICU stay: for more than half of them some hours only.
    """
    n = len(start)
    age = patients.medicore["age"].to_numpy()
    is_long = rng.random(n) < logistic(-0.4 + 0.9 * severity)
    has_icu = (rng.random(n) < logistic(-1.7 + 0.8 * severity)) | (ordinal == FIRST_ADMISSION)
    hours_before = np.where(rng.random(n) < 0.7, 0.0, rng.uniform(3, 30, n))
    hours_short, hours_long = rng.uniform(5, 14, n), np.exp(rng.normal(np.log(56), 0.75, n)).clip(16, 336)
    hours_icu = np.where(is_long, hours_long, hours_short)
    hours_ward = np.exp(rng.normal(np.log(42), 0.8, n) + 0.2 * severity).clip(5, 480)
    dies = rng.random(n) < logistic(-3.7 + 1.3 * severity + 0.035 * (age - 60) + 0.5 * is_long)
    dies_in_icu = dies & has_icu & (rng.random(n) < 0.8)
    icu_in = start + _seconds(hours_before)
    icu_out = icu_in + _seconds(hours_icu)
    last_bed = np.where(has_icu, icu_out, start)
    return {
        "icu_in": np.where(has_icu, icu_in, -1),
        "icu_out": np.where(has_icu, icu_out, -1),
        "discharge": np.where(dies_in_icu, icu_out, last_bed + _seconds(hours_ward)),
        "dies": dies,
    }


def _seconds(hours: np.ndarray) -> np.ndarray:
    """Hours as seconds on whole minutes."""
    return (hours * 60).round().astype("int64") * MINUTE_S
