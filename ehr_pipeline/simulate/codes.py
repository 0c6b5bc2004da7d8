"""What was diagnosed and done, in ICD-9 and ICD-10: `hosp/diagnoses_icd`, `hosp/procedures_icd`, dictionaries.

What belongs here: which codes an encounter bears. Code lists and titles stand in `conditions.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa

from ehr_pipeline.simulate import catalogue
from ehr_pipeline.simulate.draw import DAY_S, logistic
from ehr_pipeline.simulate.encounters import Encounters
from ehr_pipeline.simulate.patients import Patients

VERSIONS = (9, 10)
PROCEDURE_SHARE = 0.75


@dataclass(frozen=True, kw_only=True)
class Diagnoses:
    """One row per diagnosis, by encounter and then by priority; arrays of shape (n,)."""

    encounter: np.ndarray
    seq_num: np.ndarray
    code: np.ndarray
    version: np.ndarray
    title: np.ndarray


def draw_diagnoses(
    patients: Patients, encounters: Encounters, rng: np.random.Generator, most: int | None = None
) -> Diagnoses:
    """The reason first, then long-term conditions and findings in any order; `most` cuts each encounter's list."""
    n = len(encounters)
    conditions = _long_term(patients, encounters)
    findings = rng.random((n, len(catalogue.findings()))) < logistic(_finding_log_odds(encounters.severity))
    others = np.concatenate([conditions, np.zeros((n, len(catalogue.reasons())), dtype=bool), findings], axis=1)
    encounter, entry = np.nonzero(others)
    encounter = np.concatenate([np.arange(n), encounter])
    entry = np.concatenate([len(catalogue.conditions()) + encounters.reason, entry])
    priority = np.concatenate([np.zeros(n), rng.uniform(1, 2, len(entry) - n)])
    code, title = np.full(len(entry), None, dtype=object), np.full(len(entry), None, dtype=object)
    version = encounters.icd_version[encounter]
    for icd_version in VERSIONS:
        rows = version == icd_version
        code[rows], title[rows] = catalogue.diagnosis_table(icd_version).draw(entry[rows], rng)
    listed = pd.DataFrame(
        {"encounter": encounter, "priority": priority, "code": code, "version": version, "title": title}
    )
    listed = listed.sort_values(["encounter", "priority"], kind="stable").drop_duplicates(["encounter", "code"])
    listed["seq_num"] = listed.groupby("encounter").cumcount() + 1
    if most is not None:
        listed = listed[listed["seq_num"] <= most]
    return Diagnoses(**{name: listed[name].to_numpy() for name in ("encounter", "seq_num", "code", "version", "title")})


def diagnoses_table(patients: Patients, admissions: Encounters, diagnoses: Diagnoses) -> pa.Table:
    """`hosp/diagnoses_icd`, one row per diagnosis of an admission."""
    return pa.table(
        {
            "subject_id": patients.subject_id[admissions.patient[diagnoses.encounter]],
            "hadm_id": admissions.hadm_id(patients)[diagnoses.encounter],
            "seq_num": diagnoses.seq_num,
            "icd_code": pa.array(diagnoses.code, pa.string()),
            "icd_version": diagnoses.version,
        }
    )


def procedures_table(patients: Patients, admissions: Encounters, rng: np.random.Generator) -> pa.Table:
    """`hosp/procedures_icd`: at most one procedure per admission, of those that go with its reason."""
    names = list(catalogue.reasons())
    entry_of_reason = np.full(len(names), -1)
    for number, name in enumerate(catalogue.reasons_with_procedures()):
        entry_of_reason[names.index(name)] = number
    entry = entry_of_reason[admissions.reason]
    done = np.nonzero((entry >= 0) & (rng.random(len(admissions)) < PROCEDURE_SHARE))[0]
    version = admissions.icd_version[done]
    code = np.full(len(done), None, dtype=object)
    for icd_version in VERSIONS:
        rows = version == icd_version
        code[rows], _ = catalogue.procedure_table(icd_version).draw(entry[done][rows], rng)
    length_s = (admissions.discharge - admissions.admit)[done]
    time = admissions.admit[done] + (rng.random(len(done)) * np.minimum(length_s, 2 * DAY_S)).astype("int64")
    return pa.table(
        {
            "subject_id": patients.subject_id[admissions.patient[done]],
            "hadm_id": admissions.hadm_id(patients)[done],
            "seq_num": np.ones(len(done), dtype="int64"),
            "chartdate": (time // DAY_S).astype("datetime64[D]"),
            "icd_code": pa.array(code, pa.string()),
            "icd_version": version,
        }
    )


def d_icd_table(entries: list[catalogue.Coded]) -> pa.Table:
    """A dictionary of the entries' codes: one row per code and version."""
    rows = {
        (code, version): title
        for version in VERSIONS
        for entry in entries
        for code, title in entry.codes(version).items()
    }
    return pa.table(
        {
            "icd_code": [code for code, _ in rows],
            "icd_version": [version for _, version in rows],
            "long_title": list(rows.values()),
        }
    )


def _finding_log_odds(severity: np.ndarray) -> np.ndarray:
    findings = catalogue.findings().values()
    return np.array([entry.intercept for entry in findings]) + severity[:, None] * np.array(
        [entry.slope for entry in findings]
    )


def _long_term(patients: Patients, encounters: Encounters) -> np.ndarray:
    """Long-term conditions that the encounter lists: bool of shape (n_encounters, n_conditions)."""
    entries = catalogue.conditions()
    has = np.stack([patients.has[name] for name in entries], axis=1)[encounters.patient]
    first_only = np.array([entry.first_admission_only for entry in entries.values()])
    has &= ~first_only | encounters.is_first_admission[:, None]
    return has & ~_said_by_reason()[encounters.reason]


@cache
def _said_by_reason() -> np.ndarray:
    """Whether the reason's code already says the condition: bool of shape (n_reasons, n_conditions).

    An acute form stands in the same category (the first three characters) as the long-term one, and replaces it.
    """

    def category(entry: catalogue.Coded) -> str:
        return next(iter(entry.icd10))[:3]

    return np.array(
        [
            [
                reason.of == name and category(reason) == category(entry)
                for name, entry in catalogue.conditions().items()
            ]
            for reason in catalogue.reasons().values()
        ]
    )
