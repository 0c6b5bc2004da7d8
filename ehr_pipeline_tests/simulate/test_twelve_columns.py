"""The case study's columns come back exactly from the written files, by plain SQL over MIMIC-IV's tables."""

import numpy as np
import pandas as pd
import pytest

from ehr_pipeline.clinical.code_sets import load_code_sets
from ehr_pipeline.simulate.hospital import simulate_patients
from ehr_pipeline.simulate.medicore import COLUMNS
from ehr_pipeline_tests.simulate.conftest import PATIENTS, SEED, SITES

FIRST_ADMISSION = (
    "SELECT * FROM mimiciv_hosp.admissions QUALIFY row_number() OVER (PARTITION BY subject_id ORDER BY admittime) = 1"
)


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    return simulate_patients(PATIENTS, sites=SITES, seed=SEED).set_index("subject_id")


@pytest.fixture(scope="module")
def recovered(records) -> pd.DataFrame:
    def first_value(table: str, item: int) -> str:
        return (
            f"(SELECT arg_min(valuenum::FLOAT, charttime) FROM {table} e "
            f"WHERE e.hadm_id = a.hadm_id AND itemid = {item} AND charttime BETWEEN admittime AND dischtime)"
        )

    def coded(name: str) -> str:
        sets = load_code_sets()[name]
        tests = [
            f"(icd_version = {version} AND starts_with(icd_code, '{prefix}'))"
            for version, prefixes in ((10, sets.icd10), (9, sets.icd9))
            for prefix in prefixes
        ]
        return f"a.hadm_id IN (SELECT hadm_id FROM mimiciv_hosp.diagnoses_icd WHERE {' OR '.join(tests)})"

    labs, charts = "mimiciv_hosp.labevents", "mimiciv_icu.chartevents"
    return (
        records.execute(f"""
        SELECT a.subject_id,
          round(year(admittime) - (anchor_year - anchor_age) + (dayofyear(admittime) - 1)
            / dayofyear(make_date(year(admittime), 12, 31)), 1) AS age,
          gender AS sex,
          round({first_value(charts, 226512)} / pow({first_value(charts, 226730)} / 100, 2), 1) AS bmi,
          round({first_value(labs, 50852)}, 2) AS hba1c,
          round({first_value(labs, 50907)}) AS cholesterol,
          round({first_value(charts, 220179)}) AS systolic_bp,
          round({first_value(labs, 50912)}, 2) AS creatinine,
          {coded("diabetes")} AS diabetes, {coded("hypertension")} AS hypertension, {coded("cvd")} AS cvd,
          a.hadm_id IN (SELECT hadm_id FROM mimiciv_hosp.prescriptions WHERE starttime BETWEEN admittime AND dischtime
            AND regexp_matches(lower(drug), 'lisinopril|losartan|enalapril|valsartan')) AS treatment,
          {coded("complications")} AS adverse_event
        FROM ({FIRST_ADMISSION}) a JOIN mimiciv_hosp.patients USING (subject_id) ORDER BY subject_id
    """)
        .df()
        .set_index("subject_id")
    )


def test_everyone_has_a_first_admission(truth, recovered):
    assert recovered.index.equals(truth.index.astype(recovered.index.dtype))


@pytest.mark.parametrize("name", COLUMNS)
def test_column_comes_back_exactly(truth, recovered, name):
    if name == "sex":
        assert (recovered[name] == truth[name]).all()
    else:
        difference = (recovered[name].astype("float64") - truth[name]).abs()
        # To the last printed digit; what is left is float32's (the event stream's) own.
        assert not difference.isna().any()
        assert difference.max() < 1e-6


def test_later_values_drift(records):
    for table, item in (("mimiciv_hosp.labevents", 50912), ("mimiciv_icu.chartevents", 220179)):
        values, changed = records.execute(f"""
            SELECT count(*), count(*) FILTER (WHERE valuenum <> first) FROM (
              SELECT valuenum, first(valuenum) OVER w AS first, row_number() OVER w AS place FROM {table}
              WHERE itemid = {item} WINDOW w AS (PARTITION BY hadm_id ORDER BY charttime)) WHERE place > 1
        """).fetchone()
        assert changed > 0.8 * values > 0


def test_sites_do_not_touch_the_columns():
    one, many = simulate_patients(300, sites=1, seed=3), simulate_patients(300, sites=20, seed=3)
    pd.testing.assert_frame_equal(one[list(COLUMNS)], many[list(COLUMNS)])
    assert many["site"].nunique() > 10
    assert set(one["site"]) == {"001"}


def test_ages_of_every_decimal_fall_on_every_part_of_the_year(records):
    months = records.execute(f"SELECT month(admittime), count(*) FROM ({FIRST_ADMISSION}) GROUP BY 1").fetchall()
    assert len(months) == 12
    assert min(count for _, count in months) > 0.5 * PATIENTS / 12
    assert np.unique(simulate_patients(PATIENTS, seed=SEED)["age"] * 10 % 10 // 1).size == 10
