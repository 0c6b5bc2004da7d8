"""Emergency visits: why they come fits what they have, and how sick they are decides where they go."""

import pytest

from ehr_pipeline.simulate import catalogue


def test_chief_complaint_fits_the_first_diagnosis(records):
    said = records.execute("""
        SELECT DISTINCT icd_version, icd_code, chiefcomplaint FROM mimiciv_ed.triage
        JOIN mimiciv_ed.diagnosis USING (stay_id) WHERE seq_num = 1
    """).fetchall()
    fitting = {
        (version, code, complaint)
        for reason in catalogue.reasons().values()
        for version in (9, 10)
        for code in reason.codes(version)
        for complaint in reason.complaints
    }
    assert len(said) > 100
    assert set(said) <= fitting


def test_reason_of_a_visit_is_the_first_diagnosis_of_its_admission(records):
    differ = records.execute("""
        SELECT count(*) FILTER (WHERE h.icd_version <> e.icd_version OR left(h.icd_code, 2) <> left(e.icd_code, 2)),
          count(*)
        FROM mimiciv_ed.diagnosis e JOIN mimiciv_ed.edstays USING (stay_id)
        JOIN mimiciv_hosp.diagnoses_icd h USING (hadm_id) WHERE e.seq_num = 1 AND h.seq_num = 1
    """).fetchone()
    # One reason has codes of several beginnings, from which either list draws for itself.
    assert differ[1] > 1000
    assert differ[0] < 0.15 * differ[1]


def test_visit_of_an_admission_bears_its_times_and_its_number(records):
    mismatched = records.execute("""
        SELECT count(*) FROM mimiciv_ed.edstays JOIN mimiciv_hosp.admissions USING (hadm_id)
        WHERE intime <> edregtime OR outtime <> edouttime OR disposition <> 'ADMITTED'
    """).fetchone()
    assert mismatched == (0,)
    assert records.execute(
        "SELECT count(*) FROM mimiciv_ed.edstays WHERE (hadm_id IS NULL) = (disposition = 'ADMITTED')"
    ).fetchone() == (0,)


def test_stay_ids_of_wards_and_of_the_emergency_department_are_their_transfers(records):
    for table in ("mimiciv_ed.edstays", "mimiciv_icu.icustays"):
        assert records.execute(f"""
            SELECT count(*) FROM {table} s ANTI JOIN mimiciv_hosp.transfers t
            ON s.stay_id = t.transfer_id AND s.intime = t.intime AND s.outtime = t.outtime
        """).fetchone() == (0,)


def test_sicker_visits_end_in_admission_more_often(records):
    admitted = records.execute("""
        SELECT avg((disposition = 'ADMITTED')::INT) FROM mimiciv_ed.triage JOIN mimiciv_ed.edstays USING (stay_id)
        WHERE acuity IS NOT NULL GROUP BY acuity ORDER BY acuity
    """).fetchall()
    shares = [share for (share,) in admitted]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == 4


@pytest.mark.parametrize("column", ["temperature", "heartrate", "resprate", "o2sat", "sbp", "dbp", "acuity"])
def test_some_triage_values_are_missing(records, column):
    share = records.execute(f"SELECT avg(({column} IS NULL)::INT) FROM mimiciv_ed.triage").fetchone()[0]
    assert 0 < share < 0.15


def test_pain_is_a_score_or_a_word(records):
    values = {value for (value,) in records.execute("SELECT DISTINCT pain FROM mimiciv_ed.triage").fetchall()}
    assert values == {str(score) for score in range(11)} | {"unable", "UA", "Critical"}


def test_fever_comes_with_infections(records):
    infected, others = records.execute("""
        SELECT avg(temperature) FILTER (WHERE icd_title LIKE '%PNEUMONIA%' OR icd_title LIKE '%SEP%'),
               avg(temperature) FILTER (WHERE icd_title LIKE '%CHEST PAIN%')
        FROM mimiciv_ed.triage JOIN mimiciv_ed.diagnosis USING (stay_id) WHERE seq_num = 1
    """).fetchone()
    assert infected > others + 0.8
