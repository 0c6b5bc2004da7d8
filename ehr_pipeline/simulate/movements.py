"""Through which doors and beds: `hosp/admissions`, `hosp/transfers`, `hosp/services`.

What belongs here: the administrative side of an encounter.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ehr_pipeline.simulate import catalogue
from ehr_pipeline.simulate.draw import MINUTE_S, at_seconds, choose, pick
from ehr_pipeline.simulate.encounters import Encounters
from ehr_pipeline.simulate.identifiers import Slot, provider, transfer_id
from ehr_pipeline.simulate.patients import Patients

TYPES_BY_EMERGENCY = {"EW EMER.": 0.7, "OBSERVATION ADMIT": 0.2, "URGENT": 0.1}
TYPES_PLANNED = {
    "SURGICAL SAME DAY ADMISSION": 0.4,
    "ELECTIVE": 0.25,
    "DIRECT EMER.": 0.2,
    "URGENT": 0.15,
}
LOCATIONS_BY_EMERGENCY = {"EMERGENCY ROOM": 0.85, "TRANSFER FROM HOSPITAL": 0.1, "WALK-IN/SELF REFERRAL": 0.05}
LOCATIONS_PLANNED = {
    "PHYSICIAN REFERRAL": 0.65,
    "CLINIC REFERRAL": 0.15,
    "TRANSFER FROM HOSPITAL": 0.15,
    "TRANSFER FROM SKILLED NURSING FACILITY": 0.05,
}
DISCHARGES = ("HOME", "HOME HEALTH CARE", "SKILLED NURSING FACILITY", "REHAB", "HOSPICE", "AGAINST ADVICE")
DISCHARGE_LOG_WEIGHTS = np.array([1.2, 0.6, -0.4, -1.1, -3.2, -3.0])
DISCHARGE_SEVERITY = np.array([-0.5, 0.0, 0.4, 0.3, 0.9, 0.0])
DISCHARGE_AGE_DECADE = np.array([-0.2, 0.1, 0.45, 0.2, 0.4, -0.3])
NO_TIME = np.datetime64("NaT", "s")


def admissions_table(patients: Patients, admissions: Encounters, rng: np.random.Generator) -> pa.Table:
    """`hosp/admissions`, one row per admission."""
    n = len(admissions)
    patient = admissions.patient
    by_emergency = admissions.emergency_in >= 0
    discharge = at_seconds(admissions.discharge)
    return pa.table(
        {
            "subject_id": patients.subject_id[patient],
            "hadm_id": admissions.hadm_id(patients),
            "admittime": at_seconds(admissions.admit),
            "dischtime": discharge,
            "deathtime": np.where(admissions.dies, discharge, NO_TIME),
            "admission_type": np.where(by_emergency, pick(TYPES_BY_EMERGENCY, n, rng), pick(TYPES_PLANNED, n, rng)),
            "admit_provider_id": provider(admissions.number(patients) // 3),
            "admission_location": np.where(
                by_emergency, pick(LOCATIONS_BY_EMERGENCY, n, rng), pick(LOCATIONS_PLANNED, n, rng)
            ),
            "discharge_location": np.where(admissions.dies, "DIED", _discharged_to(patients, admissions, rng)),
            "insurance": patients.insurance[patient],
            "language": patients.language[patient],
            "marital_status": patients.marital_status[patient],
            "race": patients.race[patient],
            "edregtime": np.where(by_emergency, at_seconds(admissions.emergency_in), NO_TIME),
            "edouttime": np.where(by_emergency, at_seconds(admissions.emergency_out), NO_TIME),
            "hospital_expire_flag": admissions.dies.astype("int8"),
        }
    )


def transfers_table(patients: Patients, encounters: Encounters) -> pa.Table:
    """`hosp/transfers`: one row per bed, in order, and one for the discharge; visits have the ED alone."""
    e = encounters
    n = len(e)
    reasons = list(catalogue.reasons().values())
    ward = np.array([reason.ward for reason in reasons], dtype=object)[e.reason]
    unit = np.array([reason.unit for reason in reasons], dtype=object)[e.reason]
    first_bed = np.where(e.emergency_out >= 0, e.emergency_out, e.admit)
    has_icu = e.icu_in >= 0
    is_admission = e.is_admission
    ward_until = np.where(has_icu, e.icu_in, e.discharge)
    # One column per slot: whether there is such a bed, from when, until when, where.
    exists = np.stack(
        [
            e.emergency_in >= 0,
            is_admission & (ward_until > first_bed),
            has_icu,
            has_icu & (e.discharge > e.icu_out),
            is_admission,
        ],
        axis=1,
    )
    begin = np.stack([e.emergency_in, first_bed, e.icu_in, e.icu_out, e.discharge], axis=1)
    end = np.stack([e.emergency_out, ward_until, e.icu_out, e.discharge, np.full(n, -1)], axis=1)
    careunit = np.stack(
        [np.full(n, "Emergency Department", dtype=object), ward, unit, ward, np.full(n, None, dtype=object)], axis=1
    )
    in_ward_first = exists[:, Slot.WARD_BEFORE]
    event = np.full(exists.shape, "transfer", dtype=object)
    event[:, Slot.EMERGENCY], event[:, Slot.DISCHARGE] = "ED", "discharge"
    event[:, Slot.WARD_BEFORE] = "admit"
    event[:, Slot.ICU] = np.where(in_ward_first, "transfer", "admit")
    row, slot = np.nonzero(exists)
    return pa.table(
        {
            "subject_id": patients.subject_id[e.patient[row]],
            "hadm_id": pa.array(e.hadm_id(patients)[row], mask=~is_admission[row]),
            "transfer_id": transfer_id(e.number(patients)[row], slot),
            "eventtype": event[row, slot],
            "careunit": pa.array(careunit[row, slot], pa.string()),
            "intime": at_seconds(begin[row, slot]),
            "outtime": np.where(end[row, slot] >= 0, at_seconds(end[row, slot]), NO_TIME),
        }
    )


def services_table(patients: Patients, admissions: Encounters) -> pa.Table:
    """`hosp/services`: one row per admission, the service that took it on."""
    service = np.array([reason.service for reason in catalogue.reasons().values()], dtype=object)
    return pa.table(
        {
            "subject_id": patients.subject_id[admissions.patient],
            "hadm_id": admissions.hadm_id(patients),
            "transfertime": at_seconds(admissions.admit + MINUTE_S),
            "prev_service": pa.nulls(len(admissions), pa.string()),
            "curr_service": service[admissions.reason],
        }
    )


def _discharged_to(patients: Patients, admissions: Encounters, rng: np.random.Generator) -> np.ndarray:
    """Where those who live go: the old and the sick less often home."""
    decades = (patients.medicore["age"].to_numpy()[admissions.patient] - 60) / 10
    log_weights = (
        DISCHARGE_LOG_WEIGHTS
        + admissions.severity[:, None] * DISCHARGE_SEVERITY
        + decades[:, None] * DISCHARGE_AGE_DECADE
    )
    return np.array(DISCHARGES, dtype=object)[choose(np.exp(log_weights), rng)]
