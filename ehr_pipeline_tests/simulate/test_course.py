"""Severity shows: in vital signs, in how often something is measured, in who dies; and nights are quieter."""

import numpy as np
import pytest

from ehr_pipeline.simulate.draw import Ragged


def one(records, query):
    return records.execute(query).fetchone()


def test_vital_signs_are_autocorrelated_within_a_stay(records):
    within, across = one(
        records,
        """
        WITH beats AS (
          SELECT stay_id, valuenum - avg(valuenum) OVER (PARTITION BY stay_id) AS beat,
            row_number() OVER (PARTITION BY stay_id ORDER BY charttime) AS place,
            count(*) OVER (PARTITION BY stay_id) AS n
          FROM mimiciv_icu.chartevents WHERE itemid = 220045)
        SELECT corr(a.beat, b.beat) FILTER (WHERE b.place = a.place + 1),
               corr(a.beat, b.beat) FILTER (WHERE b.place = a.place + 15)
        FROM beats a JOIN beats b USING (stay_id) WHERE a.n > 40
        """,
    )
    assert within > 0.6
    assert across < within - 0.3


def test_fewer_values_are_charted_at_night(records):
    """Per hour of presence in the unit, which is as likely at night as by day."""
    night, day = one(
        records,
        """
        SELECT count(*) FILTER (WHERE hour(charttime) IN (23, 0, 1, 2, 3, 4)) / 6,
               count(*) FILTER (WHERE hour(charttime) BETWEEN 10 AND 19) / 10
        FROM mimiciv_icu.chartevents JOIN mimiciv_icu.icustays USING (stay_id) WHERE itemid = 220045 AND los > 3
        """,
    )
    assert night < 0.85 * day


def test_minutes_of_charting_are_irregular(records):
    minutes = one(records, "SELECT count(DISTINCT minute(charttime)) FROM mimiciv_icu.chartevents")[0]
    assert minutes == 60


def test_sick_are_measured_more(records):
    """Those who die against those who live: draws of blood per day, and chartings per hour in the unit."""
    draws = dict(
        records.execute("""
        SELECT hospital_expire_flag, sum(n) / sum(days) FROM mimiciv_hosp.admissions
        JOIN (SELECT hadm_id, count(DISTINCT charttime) AS n FROM mimiciv_hosp.labevents GROUP BY 1) USING (hadm_id),
        LATERAL (SELECT epoch(dischtime - admittime) / 86400 AS days) WHERE days > 2 GROUP BY 1
    """).fetchall()
    )
    assert draws[1] > 1.3 * draws[0]
    charted = dict(
        records.execute("""
        SELECT hospital_expire_flag, sum(n) / sum(los * 24) FROM mimiciv_icu.icustays
        JOIN mimiciv_hosp.admissions USING (hadm_id)
        JOIN (SELECT stay_id, count(*) AS n FROM mimiciv_icu.chartevents WHERE itemid = 220045 GROUP BY 1)
          USING (stay_id)
        WHERE los > 1 GROUP BY 1
    """).fetchall()
    )
    assert charted[1] > 1.15 * charted[0]


def first_pairs(item_of_x: int, item_of_y: int) -> str:
    return f"""
        SELECT corr(ln(x), ln(y)), count(*) FROM (
          SELECT hadm_id, arg_min(valuenum, charttime) FILTER (WHERE itemid = {item_of_x}) AS x,
            arg_min(valuenum, charttime) FILTER (WHERE itemid = {item_of_y}) AS y
          FROM mimiciv_hosp.labevents GROUP BY 1) WHERE x IS NOT NULL AND y IS NOT NULL
    """


@pytest.mark.parametrize(("item_of_x", "item_of_y"), [(50852, 50931), (50912, 51006), (51222, 51279)])
def test_what_belongs_together_correlates(records, item_of_x, item_of_y):
    """HbA1c and glucose, creatinine and urea, haemoglobin and red cells."""
    correlation, n = one(records, first_pairs(item_of_x, item_of_y))
    assert n > 1000
    assert correlation > 0.35


def test_heart_failure_raises_nt_pro_bnp(records):
    with_failure, without = one(
        records,
        """
        SELECT median(valuenum) FILTER (WHERE failing), median(valuenum) FILTER (WHERE NOT failing) FROM (
          SELECT valuenum, hadm_id IN (SELECT hadm_id FROM mimiciv_hosp.diagnoses_icd
            WHERE starts_with(icd_code, 'I50') OR starts_with(icd_code, '428')) AS failing
          FROM mimiciv_hosp.labevents WHERE itemid = 50963)
        """,
    )
    assert with_failure > 2 * without


def test_lactate_is_asked_for_when_it_is_likely_to_be_high(records):
    """Missing lactate is informative: of admissions with one, more die."""
    with_one, without = one(
        records,
        """
        SELECT avg(hospital_expire_flag) FILTER (WHERE measured), avg(hospital_expire_flag) FILTER (WHERE NOT measured)
        FROM (SELECT hospital_expire_flag,
          hadm_id IN (SELECT hadm_id FROM mimiciv_hosp.labevents WHERE itemid = 50813) AS measured
          FROM mimiciv_hosp.admissions)
        """,
    )
    assert with_one > 2 * without


def test_death_is_neither_rare_nor_common_and_rises_with_acuity(records):
    overall = one(records, "SELECT avg(hospital_expire_flag) FROM mimiciv_hosp.admissions")[0]
    assert 0.03 < overall < 0.12
    by_acuity = records.execute("""
        SELECT acuity, avg(hospital_expire_flag) FROM mimiciv_ed.triage JOIN mimiciv_ed.edstays USING (stay_id)
        JOIN mimiciv_hosp.admissions USING (hadm_id) WHERE acuity IS NOT NULL GROUP BY 1 ORDER BY 1
    """).fetchall()
    assert by_acuity[0][1] > 3 * by_acuity[2][1]


def test_complication_brings_more_back_within_a_month(records):
    back = dict(
        records.execute("""
        WITH admission AS (
          SELECT subject_id, hadm_id, row_number() OVER w AS place, lead(admittime) OVER w - dischtime AS gap,
            hospital_expire_flag FROM mimiciv_hosp.admissions WINDOW w AS (PARTITION BY subject_id ORDER BY admittime))
        SELECT hadm_id IN (SELECT hadm_id FROM mimiciv_hosp.diagnoses_icd WHERE
            (icd_version = 10 AND regexp_matches(icd_code, '^T(3[6-9]|4|50|8[0-8])'))
            OR (icd_version = 9 AND regexp_matches(icd_code, '^(96|97|99[6-9]|9952)'))),
          avg(coalesce(gap < INTERVAL 30 DAY, false)::INT)
        FROM admission WHERE place = 1 AND hospital_expire_flag = 0 GROUP BY 1
    """).fetchall()
    )
    assert back[True] > 1.3 * back[False] > 0.03


def test_everyones_first_stay_is_long_enough_for_some_to_have_two_days(records):
    long_stays, stays = one(records, "SELECT count(*) FILTER (WHERE los >= 2), count(*) FROM mimiciv_icu.icustays")
    assert 0.2 < long_stays / stays < 0.5


@pytest.mark.parametrize("counts", [[], [0], [3]])
def test_ragged_rows_of_nobody_and_of_one(counts):
    assert len(Ragged.of(np.array(counts, dtype="int64")).parent) == sum(counts)
