"""Outpatient measurements: `hosp/omr`.

What belongs here: blood pressure, height, weight and BMI at the clinic, always after the first admission, so
that none of it can be taken for a fact of that admission.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline.simulate.draw import DAY_S
from ehr_pipeline.simulate.encounters import Encounters
from ehr_pipeline.simulate.patients import Patients, weight_kg

VISIT_SHARE = 0.4
POUNDS_PER_KG, CM_PER_INCH = 2.20462, 2.54


def omr_table(patients: Patients, encounters: Encounters, dod: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """`hosp/omr`: four rows for each clinic visit, at most one visit per patient, among the living of that day."""
    n = len(patients)
    first_end = np.zeros(n, dtype="int64")
    is_first = encounters.is_first_admission
    first_end[encounters.patient[is_first]] = encounters.end[is_first] // DAY_S
    day = (first_end + rng.integers(3, 60, n)).astype("datetime64[D]")
    comes = np.nonzero((rng.random(n) < VISIT_SHARE) & (np.isnat(dod) | (day < dod)))[0]
    bmi = (patients.medicore["bmi"].to_numpy() + rng.normal(0, 0.4, n))[comes].round(1)
    height = patients.height_cm[comes]
    systolic = (patients.medicore["systolic_bp"].to_numpy() + rng.normal(0, 8, n))[comes].round()
    diastolic = (0.42 * systolic + 24 + rng.normal(0, 5, len(comes))).round().clip(30, None)
    diastolic = np.minimum(diastolic, systolic - 10)
    results = {
        "Blood Pressure": pc.binary_join_element_wise(_texts(systolic, 0), _texts(diastolic, 0), "/"),
        "Weight (Lbs)": _texts(weight_kg(bmi, height) * POUNDS_PER_KG, 1),
        "Height (Inches)": _texts(height / CM_PER_INCH, 1),
        "BMI (kg/m2)": _texts(bmi, 1),
    }
    order = np.argsort(np.tile(np.arange(len(comes)), len(results)), kind="stable")
    return pa.table(
        {
            "subject_id": np.tile(patients.subject_id[comes], len(results)),
            "chartdate": np.tile(day[comes], len(results)),
            "seq_num": np.ones(len(comes) * len(results), dtype="int64"),
            "result_name": np.repeat(np.array(list(results), dtype=object), len(comes)),
            "result_value": pa.chunked_array(list(results.values())).combine_chunks(),
        }
    ).take(pa.array(order))


def _texts(numbers: np.ndarray, decimals: int) -> pa.Array:
    """The numbers as the clinic writes them."""
    return pc.cast(pa.array(numbers.round(decimals)), pa.string())
