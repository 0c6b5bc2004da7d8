"""The emergency department: `ed/edstays`, `ed/triage`, `ed/vitalsign`, `ed/diagnosis`.

What belongs here: arrival, triage, vital signs while waiting, the complaint in words, how the visit ends.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline.simulate import catalogue
from ehr_pipeline.simulate.codes import Diagnoses
from ehr_pipeline.simulate.draw import HOUR_S, MINUTE_S, Ragged, at_seconds, autoregressive, logistic, pick
from ehr_pipeline.simulate.encounters import Encounters
from ehr_pipeline.simulate.identifiers import Slot, transfer_id
from ehr_pipeline.simulate.patients import Patients

DISPOSITIONS = {
    "HOME": 0.9,
    "LEFT WITHOUT BEING SEEN": 0.03,
    "TRANSFER": 0.03,
    "LEFT AGAINST MEDICAL ADVICE": 0.02,
    "ELOPED": 0.01,
    "OTHER": 0.01,
}
ACUITY_CUTS = (-0.9, 0.1, 1.3)  # of the latent severity as the triage nurse sees it: levels 4, 3, 2, 1
PAIN_IN_WORDS = ("unable", "UA", "Critical")
MISSING_LOG_ODDS = -3.2
UNASSESSED_LOG_ODDS = -4.5


def edstays_table(patients: Patients, visits: Encounters, rng: np.random.Generator) -> pa.Table:
    """`ed/edstays`, one row per visit; `hadm_id` only where it led to an admission."""
    n = len(visits)
    by_ambulance = rng.random(n) < logistic(
        -0.6 + 0.9 * visits.severity + 0.02 * (patients.medicore["age"].to_numpy()[visits.patient] - 60)
    )
    other = pick({"WALK IN": 0.92, "UNKNOWN": 0.06, "OTHER": 0.02}, n, rng)
    return pa.table(
        {
            "subject_id": patients.subject_id[visits.patient],
            "hadm_id": pa.array(visits.hadm_id(patients), mask=~visits.is_admission),
            "stay_id": _stay_id(patients, visits),
            "intime": at_seconds(visits.emergency_in),
            "outtime": at_seconds(visits.emergency_out),
            "gender": patients.medicore["sex"].to_numpy().astype(object)[visits.patient],
            "race": patients.race[visits.patient],
            "arrival_transport": np.where(by_ambulance, "AMBULANCE", other),
            "disposition": np.where(visits.is_admission, "ADMITTED", pick(DISPOSITIONS, n, rng)),
        }
    )


def triage_table(patients: Patients, visits: Encounters, rng: np.random.Generator) -> pa.Table:
    """`ed/triage`, one row per visit. The sickest are rushed in: they more often lack a value."""
    n = len(visits)
    rows = Ragged.of(np.ones(n, dtype="int64"))
    vitals = _vitals(patients, visits, rows, rng)
    seen = visits.severity + rng.normal(0, 0.5, n)
    chance = logistic(MISSING_LOG_ODDS + 0.7 * visits.severity)
    missing = {name: rng.random(n) < chance for name in vitals}
    missing["dbp"] = missing["sbp"]
    pain_score = (3 + 3 * rng.normal(size=n) + 1.5 * _hurts(visits)).round().clip(0, 10).astype("int64")
    in_words = rng.random(n) < logistic(-4 + 1.2 * visits.severity)
    pain = np.where(
        in_words, np.array(PAIN_IN_WORDS, dtype=object)[pain_score % 3], pain_score.astype(str).astype(object)
    )
    return pa.table(
        {
            "subject_id": patients.subject_id[visits.patient],
            "stay_id": _stay_id(patients, visits),
            **{name: pa.array(values, mask=missing[name]) for name, values in vitals.items()},
            "pain": pain,
            "acuity": pa.array(
                4.0 - np.digitize(seen, ACUITY_CUTS), mask=rng.random(n) < logistic(np.full(n, UNASSESSED_LOG_ODDS))
            ),
            "chiefcomplaint": _complaints(visits, rng),
        }
    )


def vitalsign_table(patients: Patients, visits: Encounters, rng: np.random.Generator) -> pa.Table:
    """`ed/vitalsign`, one row per round of vital signs: every hour and a half, the sick more often."""
    hours = (visits.emergency_out - visits.emergency_in) / HOUR_S
    every_h = 2.2 * np.exp(-0.25 * visits.severity)
    rows = Ragged.of((hours / every_h).astype("int64").clip(0, 24))
    visit = rows.parent
    n = len(visit)
    spacing_s = ((visits.emergency_out - visits.emergency_in) / (rows.counts + 1))[visit]
    time = visits.emergency_in[visit] + ((rows.position + rng.uniform(0.6, 1.4, n)) * spacing_s).astype("int64")
    vitals = _vitals(patients, visits.take(visit), rows, rng)
    no_temperature = rng.random(n) < 0.4
    return pa.table(
        {
            "subject_id": patients.subject_id[visits.patient[visit]],
            "stay_id": _stay_id(patients, visits)[visit],
            "charttime": at_seconds(time // MINUTE_S * MINUTE_S),
            "temperature": pa.array(vitals.pop("temperature"), mask=no_temperature),
            **vitals,
            "rhythm": pa.nulls(n, pa.string()),
            "pain": (3 + 2.5 * rng.normal(size=n) + 1.2 * _hurts(visits)[visit])
            .round()
            .clip(0, 10)
            .astype("int64")
            .astype(str)
            .astype(object),
        }
    )


def diagnosis_table(patients: Patients, visits: Encounters, diagnoses: Diagnoses) -> pa.Table:
    """`ed/diagnosis`, one row per diagnosis of a visit."""
    return pa.table(
        {
            "subject_id": patients.subject_id[visits.patient[diagnoses.encounter]],
            "stay_id": _stay_id(patients, visits)[diagnoses.encounter],
            "seq_num": diagnoses.seq_num,
            "icd_code": pa.array(diagnoses.code, pa.string()),
            "icd_version": diagnoses.version,
            "icd_title": pc.utf8_upper(pa.array(diagnoses.title, pa.string())),
        }
    )


def _stay_id(patients: Patients, visits: Encounters) -> np.ndarray:
    return transfer_id(visits.number(patients), Slot.EMERGENCY)


def _hurts(visits: Encounters) -> np.ndarray:
    """1.0 where the reason is painful: a complaint of it says so."""
    return np.array(
        [float(any("pain" in text.lower() for text in reason.complaints)) for reason in catalogue.reasons().values()]
    )[visits.reason]


def _complaints(visits: Encounters, rng: np.random.Generator) -> np.ndarray:
    """The complaint in words, one of those that go with the reason."""
    texts = [reason.complaints for reason in catalogue.reasons().values()]
    most = max(len(complaints) for complaints in texts)
    padded = np.array([complaints + [None] * (most - len(complaints)) for complaints in texts], dtype=object)
    n_texts = np.array([len(complaints) for complaints in texts])[visits.reason]
    return padded[visits.reason, (rng.random(len(visits)) * n_texts).astype("int64")]


def _vitals(patients: Patients, visits: Encounters, rows: Ragged, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Vital signs of each row (`visits` has one row per row): float64 of shape (n,)."""
    s = visits.severity
    fever = np.array([reason.fever for reason in catalogue.reasons().values()])[visits.reason]

    def noise(sd: float) -> np.ndarray:
        return sd * autoregressive(rows, 0.7, rng)

    systolic = (
        (patients.medicore["systolic_bp"].to_numpy()[visits.patient] + 10 - 5 * s + noise(12)).round().clip(60, 240)
    )
    diastolic = np.minimum(0.4 * systolic + 22 + noise(7), systolic - 12).round().clip(25, 140)
    return {
        "temperature": (98.1 + 0.8 * fever + noise(0.6)).round(1).clip(94, 105.5),
        "heartrate": (82 + 8 * s + 4 * fever + noise(12)).round().clip(38, 190),
        "resprate": (17.5 + 1.6 * s + noise(1.8)).round().clip(8, 45),
        "o2sat": (98.2 - 1.1 * s.clip(0, None) + noise(1.4)).round().clip(75, 100),
        "sbp": systolic,
        "dbp": diastolic,
    }
