"""Small made-up tables for the tests of generators; no patient of any hospital."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ehr_pipeline.generators.base import TrainingCohort
from ehr_pipeline.record import Column, Schema, conform
from ehr_pipeline.simulate.medicore import simulate_medicore


def mixed_schema() -> Schema:
    """One column of each kind, and the awkward ones: empty, constant, without any level."""
    return Schema(
        columns=(
            Column(name="age", kind="continuous", minimum=18, maximum=95, decimals=1),
            Column(name="lactate", kind="continuous"),
            Column(name="visits", kind="integer", minimum=0),
            Column(name="died", kind="binary", missing=False, role="outcome"),
            Column(name="unit", kind="categorical", levels=("CCU", "MICU", "SICU")),
            Column(name="drug", kind="categorical"),
            Column(name="admitted", kind="time"),
            Column(name="never", kind="continuous"),
            Column(name="constant", kind="integer"),
            Column(name="no_level", kind="categorical"),
            Column(name="note", kind="text"),
            Column(name="number", kind="id"),
        )
    )


def mixed_cohort(n: int = 400, seed: int = 0, rows_per_patient: int = 1) -> TrainingCohort:
    """A cohort with every kind of column, dependence, gaps, point masses, rare levels and extremes."""
    rng = np.random.default_rng(seed)
    age = np.clip(rng.normal(60, 20, n).round(1), 18, 95)
    sick = rng.random(n) < (age / 150)
    lactate = np.exp(rng.normal(sick * 0.8, 0.6, n)).round(2)
    lactate[rng.random(n) < 0.3] = np.nan
    drugs = np.array([f"drug{k}" for k in np.minimum(rng.geometric(0.3, n), 12)], dtype=object)
    table = pd.DataFrame(
        {
            "age": age,
            "lactate": lactate,
            "visits": rng.poisson(0.5 + 2 * sick),
            "died": sick.astype(int),
            "unit": np.where(rng.random(n) < 0.1, None, np.where(sick, "MICU", "CCU")),
            "drug": drugs,
            "admitted": pd.Timestamp("2150-01-01") + pd.to_timedelta(rng.integers(0, 500_000, n), unit="min"),
            "never": np.nan,
            "constant": 7,
            "no_level": None,
            "note": "words",
            "number": np.arange(n),
        }
    )
    schema = mixed_schema()
    return TrainingCohort(
        schema=schema, table=conform(table, schema), subject_id=np.arange(n, dtype=np.int64) // rows_per_patient
    )


def medicore_cohort(n: int, seed: int = 0) -> TrainingCohort:
    """The case study's twelve columns."""
    frame = simulate_medicore(n, np.random.default_rng(seed))
    decimals = {"age": 1, "bmi": 1, "hba1c": 2, "cholesterol": 0, "systolic_bp": 0, "creatinine": 2}
    schema = Schema(
        columns=tuple(
            Column(name=name, kind="continuous", decimals=decimals[name])
            if name in decimals
            else Column(name=name, kind="categorical" if name == "sex" else "binary")
            for name in frame.columns
        )
    )
    return TrainingCohort(schema=schema, table=conform(frame, schema), subject_id=np.arange(n, dtype=np.int64))


def public_schema() -> Schema:
    """Columns of which everything is publicly known that a private fit must not look up."""
    return Schema(
        columns=(
            Column(name="age", kind="continuous", minimum=18, maximum=95, decimals=1, missing=False),
            Column(name="lactate", kind="continuous", minimum=0.2, maximum=20, decimals=2),
            Column(name="visits", kind="integer", minimum=0, maximum=20),
            Column(name="died", kind="binary", missing=False, role="outcome"),
            Column(name="unit", kind="categorical", levels=("CCU", "MICU", "SICU")),
            Column(name="drug", kind="categorical", levels=tuple(f"drug{k}" for k in range(20))),
        )
    )


def public_cohort(n: int = 400, seed: int = 0, rows_per_patient: int = 1) -> TrainingCohort:
    """The columns of `mixed_cohort` that `public_schema` has."""
    cohort, schema = mixed_cohort(n, seed, rows_per_patient), public_schema()
    return TrainingCohort(schema=schema, table=conform(cohort.table, schema), subject_id=cohort.subject_id)
