"""The split: by patient, salted, stable, of the size asked for."""

import duckdb
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.cohort import split_of
from ehr_pipeline.cohort.split import split_sql

BEGIN, END = "2150-03-01 10:00", "2150-03-05 10:00"


@settings(max_examples=100)
@given(st.integers(0, 2**62), st.text(max_size=20).filter(lambda text: "\x00" not in text), st.floats(0.01, 0.99))
def test_sql_and_python_agree(subject_id, salt, share):
    [in_sql] = duckdb.execute(f"SELECT {split_sql(str(subject_id))}", [salt, share]).fetchone()
    assert in_sql == split_of(subject_id, salt, share)


def test_share_is_kept_and_salts_differ():
    """20,000 patients at 0.3: the standard error is 0.0032, so four of them are 0.013."""
    sides = [split_of(subject, "a", 0.3) for subject in range(20_000)]
    assert abs(sides.count("holdout") / 20_000 - 0.3) < 0.013
    other = [split_of(subject, "b", 0.3) for subject in range(20_000)]
    both = sum(one == another == "holdout" for one, another in zip(sides, other, strict=True)) / 20_000
    assert abs(both - 0.09) < 0.013


def test_patient_keeps_its_side_when_patients_are_added(hospital, build):
    def add(subjects):
        for subject in subjects:
            hospital.patient(subject).admission(subject, subject * 10, BEGIN, END)
        build(hospital)
        return pd.read_parquet(build.data.cohort("made").split).set_index("subject_id")["split"]

    before = add(range(1, 41))
    after = add(range(41, 81))
    assert set(before) == {"train", "holdout"}
    assert after.loc[before.index].tolist() == before.tolist()


def test_patient_with_several_members_stands_on_one_side(hospital, build):
    hospital.patient(1)
    for number in range(5):
        hospital.admission(1, 10 + number, f"215{number}-03-01 10:00", f"215{number}-03-02 10:00")
    summary, table = build(hospital, population={"occurrence": "all"})
    split = pd.read_parquet(build.data.cohort("made").split)
    assert len(table) == 5 and len(split) == 1
    assert summary.n_train_patients + summary.n_holdout_patients == 1


def test_salt_and_share_come_from_the_definition(hospital, build):
    for subject in range(1, 41):
        hospital.patient(subject).admission(subject, subject * 10, BEGIN, END)
    build(hospital, split={"salt": "pepper", "holdout_share": 0.5})
    split = pd.read_parquet(build.data.cohort("made").split)
    assert split["split"].tolist() == [split_of(subject, "pepper", 0.5) for subject in split["subject_id"]]
