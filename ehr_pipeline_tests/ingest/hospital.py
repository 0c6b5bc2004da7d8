"""A made-up hospital of three patients, as a MIMIC-IV folder, with what is ugly in real ones.

Patient 1 has an admission with an ICU stay and an emergency visit, patient 2 dies in hospital, patient 3 was
never admitted and dies outside.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ehr_pipeline.mimic import Column, tables
from ehr_pipeline.mimic.tables import SCHEMAS

Rows = list[dict[str, Any]]

STAY = {"subject_id": 1, "hadm_id": 11, "stay_id": 111}
VISIT = {"subject_id": 1, "stay_id": 900}
LAB = {"subject_id": 1, "hadm_id": 11, "itemid": 50912, "charttime": "2150-03-01 10:00:00"}

HOSPITAL: dict[str, Rows] = {
    "patients": [
        {"subject_id": 1, "gender": "F", "anchor_age": 60, "anchor_year": 2150, "anchor_year_group": "2011 - 2013"},
        {"subject_id": 2, "gender": "M", "anchor_age": 91, "anchor_year": 2160, "dod": "2160-05-03"},
        {"subject_id": 3, "gender": "F", "anchor_age": 30, "anchor_year": 2170, "dod": "2171-01-01"},
    ],
    "admissions": [
        {
            "subject_id": 1,
            "hadm_id": 11,
            "admittime": "2150-03-01 08:00:00",
            "dischtime": "2150-03-05 12:00:00",
            "admission_type": "EW EMER.",
            "admission_location": "EMERGENCY ROOM",
            "discharge_location": "HOME",
            "insurance": "UNK",
            "language": "ENGLISH",
            "race": "WHITE",
            "edregtime": "2150-03-01 06:00:00",
            "edouttime": "2150-03-01 08:30:00",
        },
        {
            "subject_id": 2,
            "hadm_id": 22,
            "admittime": "2160-05-01 00:00:00",
            "dischtime": "2160-05-03 10:00:00",
            "deathtime": "2160-05-03 10:00:00",
            "admission_type": "URGENT",
            "discharge_location": "DIED",
            "marital_status": "SINGLE",
        },
    ],
    "transfers": [
        {
            "subject_id": 1,
            "hadm_id": 11,
            "transfer_id": 1,
            "eventtype": "admit",
            "careunit": "Med/Surg",
            "intime": "2150-03-01 08:00:00",
        },
        {"subject_id": 1, "hadm_id": 11, "transfer_id": 2, "eventtype": "discharge", "intime": "2150-03-05 12:00:00"},
    ],
    "services": [{"subject_id": 1, "hadm_id": 11, "transfertime": "2150-03-01 08:00:00", "curr_service": "CMED"}],
    "diagnoses_icd": [
        {"subject_id": 1, "hadm_id": 11, "seq_num": 1, "icd_code": "0389", "icd_version": 9},
        {"subject_id": 1, "hadm_id": 11, "seq_num": 2, "icd_code": "E119", "icd_version": 10},
    ],
    "d_icd_diagnoses": [
        {"icd_code": "0389", "icd_version": 9, "long_title": "Unspecified septicemia"},
        {"icd_code": "E119", "icd_version": 10, "long_title": "Type 2 diabetes mellitus, without complications"},
    ],
    "procedures_icd": [
        {"subject_id": 1, "hadm_id": 11, "seq_num": 1, "chartdate": "2150-03-02", "icd_code": "0040", "icd_version": 9}
    ],
    "drgcodes": [
        {"subject_id": 1, "hadm_id": 11, "drg_type": "HCFA", "drg_code": "871", "description": "SEPSIS, W MCC"}
    ],
    "hcpcsevents": [{"subject_id": 1, "hadm_id": 11, "chartdate": "2150-03-02", "hcpcs_cd": "99219", "seq_num": 1}],
    "labevents": [
        LAB | {"labevent_id": 1, "value": "1.1", "valuenum": 1.1, "valueuom": "mg/dL"},
        LAB | {"labevent_id": 2, "value": "___", "valueuom": "mg//dL", "comments": 'HEMOLYZED, "twice"\nsecond line'},
        LAB | {"labevent_id": 3, "value": "<0.5", "valuenum": 0.5, "valueuom": "per /"},
        LAB | {"labevent_id": 4, "hadm_id": None, "value": "7", "valuenum": 7, "valueuom": "UNK"},
        LAB | {"labevent_id": 5, "value": "POS", "valueuom": "a\\b"},
    ],
    "microbiologyevents": [
        {
            "microevent_id": 1,
            "subject_id": 1,
            "chartdate": "2150-03-02",
            "charttime": "2150-03-02 07:00:00",
            "spec_type_desc": "URINE",
            "test_name": "URINE CULTURE",
            "org_name": "ESCHERICHIA COLI",
            "ab_name": "CEFTRIAXONE",
            "dilution_comparison": "<=",
            "dilution_value": 1,
            "interpretation": "S",
        },
        {"microevent_id": 2, "subject_id": 1, "chartdate": "2150-03-03", "spec_type_desc": "SWAB"},
    ],
    "omr": [
        {"subject_id": 1, "chartdate": "2150-03-01", "result_name": "Blood Pressure", "result_value": "120/80"},
        {"subject_id": 1, "chartdate": "2150-03-01", "result_name": "BMI (kg/m2)", "result_value": "28.1"},
    ],
    "prescriptions": [
        {
            "subject_id": 1,
            "hadm_id": 11,
            "pharmacy_id": 5,
            "starttime": "2150-03-01 12:00:00",
            "drug_type": "MAIN",
            "drug": "Lisinopril",
            "dose_val_rx": "10",
            "dose_unit_rx": "mg",
            "route": "PO/NG",
        },
        {
            "subject_id": 1,
            "hadm_id": 11,
            "pharmacy_id": 6,
            "starttime": "2150-03-01 12:00:00",
            "drug_type": "MAIN",
            "drug": "Sodium Chloride 0.9% //flush",
            "dose_val_rx": "3-10",
        },
    ],
    "pharmacy": [
        {
            "subject_id": 1,
            "hadm_id": 11,
            "pharmacy_id": 5,
            "starttime": "2150-03-01 12:00:00",
            "medication": "Lisinopril",
        }
    ],
    "poe": [
        {
            "poe_id": "1-1",
            "subject_id": 1,
            "hadm_id": 11,
            "ordertime": "2150-03-01 09:00:00",
            "order_type": "Medications",
        }
    ],
    "emar": [
        {
            "subject_id": 1,
            "hadm_id": 11,
            "emar_id": "1-2",
            "poe_id": "1-1",
            "charttime": "2150-03-01 13:00:00",
            "medication": "Lisinopril",
        },
        {
            "subject_id": 1,
            "hadm_id": 11,
            "emar_id": "1-3",
            "poe_id": "1-9",
            "charttime": "2150-03-01 14:00:00",
            "event_txt": "Not Given",
        },
    ],
    "icustays": [
        STAY
        | {
            "first_careunit": "MICU",
            "last_careunit": "MICU/SICU",
            "intime": "2150-03-01 09:00:00",
            "outtime": "2150-03-03 09:00:00",
        }
    ],
    "chartevents": [
        STAY | {"charttime": "2150-03-01 09:30:00", "itemid": 220045, "value": "88", "valuenum": 88, "valueuom": "bpm"},
        STAY | {"charttime": "2150-03-01 09:30:00", "itemid": 220048, "value": "SR (Sinus Rhythm)"},
    ],
    "outputevents": [STAY | {"charttime": "2150-03-01 12:00:00", "itemid": 226559, "value": 300, "valueuom": "mL"}],
    "inputevents": [
        STAY
        | {
            "starttime": "2150-03-01 10:00:00",
            "itemid": 225158,
            "amount": 0.1,
            "amountuom": "mL",
            "rate": 0.3,
            "orderid": 7,
        }
    ],
    "ingredientevents": [
        STAY | {"starttime": "2150-03-01 10:00:00", "itemid": 220490, "amount": 500.25, "amountuom": "mL"}
    ],
    "procedureevents": [
        STAY | {"starttime": "2150-03-01 10:00:00", "itemid": 225792, "value": 60, "valueuom": "min", "orderid": 8}
    ],
    "datetimeevents": [STAY | {"charttime": "2150-03-01 10:00:00", "itemid": 224187, "value": "2150-02-27 00:00:00"}],
    "edstays": [
        VISIT
        | {
            "hadm_id": 11,
            "intime": "2150-03-01 06:00:00",
            "outtime": "2150-03-01 08:30:00",
            "arrival_transport": "AMBULANCE",
        }
    ],
    "triage": [
        VISIT
        | {"temperature": 98.6, "heartrate": 90, "pain": "unable", "acuity": 2, "chiefcomplaint": "Chest pain, N/V"}
    ],
    "vitalsign": [
        VISIT | {"charttime": "2150-03-01 06:10:00", "heartrate": 91, "sbp": 121, "pain": "7"},
        VISIT | {"charttime": "2150-03-01 07:10:00", "o2sat": 97, "rhythm": "Normal Sinus Rhythm"},
    ],
    "medrecon": [VISIT | {"charttime": "2150-03-01 06:20:00", "name": "aspirin", "etcdescription": "Analgesics"}],
    "pyxis": [VISIT | {"charttime": "2150-03-01 06:40:00", "name": "Morphine"}],
    "diagnosis": [
        VISIT | {"seq_num": 1, "icd_code": "R079", "icd_version": 10, "icd_title": "Chest pain, unspecified"}
    ],
    "sites": [{"subject_id": 1, "site": "001"}, {"subject_id": 2, "site": "002"}, {"subject_id": 3, "site": "001"}],
}

_FILL = {
    "INTEGER": 1,
    "SMALLINT": 1,
    "DOUBLE": 1.5,
    "VARCHAR": "x",
    "DATE": "2150-01-01",
    "TIMESTAMP": "2150-01-01 00:00:00",
}


def table_of(name: str) -> Any:
    """The declaration of a table by its short name."""
    return next(table for table in tables().values() if table.short_name == name)


def csv_text(name: str, rows: Rows) -> str:
    """A table as CSV: every declared column; a NOT NULL one that a row doesn't give is filled."""
    table = table_of(name)
    text = io.StringIO()
    writer = csv.DictWriter(text, table.column_names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column.name: row.get(column.name, _fill(column)) for column in table.columns})
    return text.getvalue()


def _fill(column: Column) -> Any:
    return _FILL[column.type] if column.not_null else None


def path_of(folder: Path, name: str, suffix: str = ".csv") -> Path:
    """Where a table lies in a MIMIC-IV folder."""
    schema = table_of(name).name.split(".")[0]
    return folder / next(place for place, known in SCHEMAS.items() if known == schema) / f"{name}{suffix}"


def write_table(folder: Path, name: str, rows: Rows, suffix: str = ".csv") -> Path:
    """Write one table; returns its path."""
    path = path_of(folder, name, suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = csv_text(name, rows).encode()
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    return path


def write_hospital(folder: Path, **changed: Rows | None) -> Path:
    """Write the hospital, with some tables' rows changed (None: no such table); returns the folder."""
    for name, rows in (HOSPITAL | changed).items():
        if rows is not None:
            write_table(folder, name, rows)
    return folder


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """Change the text of a CSV file."""
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
