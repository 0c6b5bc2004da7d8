"""Who becomes a member, and how the exclusions are counted."""

import pandas as pd
import pytest

from ehr_pipeline.cohort import build_cohort
from ehr_pipeline.errors import CheckFailed, NotReady
from ehr_pipeline.storage import DataFolder
from ehr_pipeline_tests.cohort.hospital import columns, definition_of

BEGIN, END = "2150-03-01 10:00", "2150-03-05 10:00"


def flow_of(summary):
    return [(step.n_index_events, step.n_patients) for step in summary.flow]


def test_age_counts_from_new_year_of_the_birth_year_and_bounds_are_whole_years(hospital, build):
    """18 years old on 1 January 2150 with birth year 2132: in; birth year 2133: 17, out; 2069: 81, out of 18 to 80."""
    for subject, birth_year in ((1, 2132), (2, 2133), (3, 2069), (4, 2070)):
        hospital.patient(subject, birth_year).admission(subject, subject * 10, "2150-12-31 23:00", "2151-01-02 10:00")
    _, table = build(hospital, population={"age_years": {"minimum": 18, "maximum": 80}})
    assert table["subject_id"].tolist() == [1, 4]
    assert table["age"].tolist() == [18, 80]


def test_flow_counts_what_each_criterion_leaves(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END).admission(1, 11, "2151-03-01 10:00", "2151-03-02 10:00")
    hospital.patient(2, gender="M").admission(2, 20, BEGIN, END)
    hospital.patient(3, birth_year=2140).admission(3, 30, BEGIN, END)
    summary, _ = build(hospital, population={"age_years": {"minimum": 18}, "sex": ["F"]})
    # admissions, age and sex known, adults, female, a window that ends, each patient's first
    assert flow_of(summary) == [(4, 3), (4, 3), (3, 2), (2, 1), (2, 1), (1, 1)]
    assert (summary.n_members, summary.n_patients) == (1, 1)


@pytest.mark.parametrize(("occurrence", "hadm_ids"), [("first", [11, 20]), ("last", [12, 20]), ("all", [11, 12, 20])])
def test_occurrence_is_counted_among_those_that_qualify(hospital, build, occurrence, hadm_ids):
    hospital.patient(1)
    for hadm_id, year, code in ((10, 2150, "J189"), (11, 2151, "E119"), (12, 2152, "E119")):
        hospital.admission(1, hadm_id, f"{year}-03-01 10:00", f"{year}-03-02 10:00")
        hospital.event(1, f"{year}-03-02 10:00", f"DIAGNOSIS//ICD//10//{code}", 1, hadm_id=hadm_id)
    hospital.patient(2).admission(2, 20, BEGIN, END).event(2, END, "DIAGNOSIS//ICD//9//25000", 1, hadm_id=20)
    build(hospital, population={"diagnoses": {"any_of": ["diabetes"]}, "occurrence": occurrence})
    members = pd.read_parquet(build.data.cohort("made").members)
    assert members["hadm_id"].tolist() == hadm_ids


def test_excluded_diagnosis_and_required_drug(hospital, build):
    for subject, code, drug in ((1, "E119", "Metformin"), (2, "O100", "Metformin"), (3, "E119", "Aspirin")):
        hospital.patient(subject).admission(subject, subject * 10, BEGIN, END)
        hospital.event(subject, END, f"DIAGNOSIS//ICD//10//{code}", 1, hadm_id=subject * 10)
        hospital.event(subject, BEGIN, f"MEDICATION//{drug}", hadm_id=subject * 10)
    _, table = build(hospital, population={"diagnoses": {"none_of": ["pregnancy"]}, "drugs": {"any_of": ["metformin"]}})
    assert table["subject_id"].tolist() == [1]


def test_diagnosis_of_another_admission_or_version_does_not_count(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END).admission(1, 11, "2151-03-01 10:00", "2151-03-02 10:00")
    hospital.event(1, "2151-03-02 10:00", "DIAGNOSIS//ICD//10//E119", 1, hadm_id=11)
    hospital.patient(2).admission(2, 20, BEGIN, END).event(2, END, "DIAGNOSIS//ICD//9//E119", 1, hadm_id=20)
    build(hospital, population={"diagnoses": {"any_of": ["diabetes"]}})
    members = pd.read_parquet(build.data.cohort("made").members)
    assert members["hadm_id"].tolist() == [11]


def test_codes_may_be_spelled_out(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END).event(1, END, "DIAGNOSIS//ICD//10//J189", 1, hadm_id=10)
    hospital.patient(2).admission(2, 20, BEGIN, END)
    _, table = build(hospital, population={"diagnoses": {"any_of": [{"icd10": ["J18.9"]}]}})
    assert table["subject_id"].tolist() == [1]


def test_icu_and_ed_criteria_and_minimum_stay(hospital, build):
    for subject in (1, 2, 3):
        hospital.patient(subject).admission(subject, subject * 10, BEGIN, END if subject < 3 else "2150-03-01 20:00")
    hospital.icu_stay(1, 10, 100, BEGIN, END).icu_stay(3, 30, 300, BEGIN, "2150-03-01 20:00")
    hospital.visit(2, 2000, "2150-03-01 06:00", BEGIN, hadm_id=20)
    assert build(hospital, population={"icu_stay": True})[1]["subject_id"].tolist() == [1, 3]
    assert build(hospital, population={"icu_stay": False})[1]["subject_id"].tolist() == [2]
    assert build(hospital, population={"ed_visit": True})[1]["subject_id"].tolist() == [2]
    assert build(hospital, population={"minimum_stay_hours": 24})[1]["subject_id"].tolist() == [1, 2]


def test_stay_without_an_end_is_left_out_only_where_the_window_needs_it(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END).icu_stay(1, 10, 100, BEGIN, None)
    assert build(hospital, index="icu_admission", window={"hours_after": 24})[0].n_members == 1
    with pytest.raises(CheckFailed, match="Window with an end"):
        build(hospital, index="icu_admission", window={"hours_after": 24, "until": "stay"})


def test_window_ends_with_whatever_is_first(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END).icu_stay(1, 10, 100, BEGIN, "2150-03-02 10:00")
    hospital.patient(2).admission(2, 20, BEGIN, END).icu_stay(2, 20, 200, BEGIN, "2150-03-05 10:00")
    build(hospital, index="icu_admission", window={"hours_before": 6, "hours_after": 48, "until": "stay"})
    members = pd.read_parquet(build.data.cohort("made").members)
    assert list(members.columns) == ["subject_id", "hadm_id", "stay_id", "index_time", "start_time", "end_time"]
    assert members["start_time"].astype(str).unique().tolist() == ["2150-03-01 04:00:00"]
    assert members["end_time"].astype(str).tolist() == ["2150-03-02 10:00:00", "2150-03-03 10:00:00"]


def test_patient_without_birth_or_sex_is_left_out(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END)
    hospital.admission(2, 20, BEGIN, END).event(2, None, "GENDER//F")
    hospital.admission(3, 30, BEGIN, END).event(3, "2100-01-01", "MEDS_BIRTH")
    assert build(hospital)[1]["subject_id"].tolist() == [1]


def test_empty_cohort_names_the_criterion_and_leaves_nothing(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END)
    with pytest.raises(CheckFailed, match="no patient is left after the criterion 'Age 60 to 120 years'"):
        build(hospital, population={"age_years": {"minimum": 60}})
    folder = build.data.cohort("made").root
    assert [path.name for path in folder.rglob("*") if path.is_file()] == []


def test_records_without_the_index_event_say_so(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END)
    with pytest.raises(CheckFailed, match="hold no emergency visits"):
        build(hospital, index="ed_arrival", window={"until": "visit"})


def test_events_that_are_not_there_yet_are_named(tmp_path):
    with pytest.raises(NotReady, match="ingest a source first"):
        build_cohort(definition_of(tmp_path), DataFolder(tmp_path / "data"))


def test_event_files_without_their_columns_are_refused(tmp_path):
    data = DataFolder(tmp_path / "data")
    data.events.mkdir(parents=True)
    pd.DataFrame({"subject_id": [1]}).to_parquet(data.events / "a.parquet")
    with pytest.raises(NotReady, match="lack the columns time, code"):
        build_cohort(definition_of(tmp_path), data)
    (data.events / "a.parquet").write_bytes(b"not parquet")
    with pytest.raises(NotReady, match="cannot be read as Parquet"):
        build_cohort(definition_of(tmp_path), data)


def test_an_earlier_cohort_stays_whole_when_a_build_fails(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END)
    _, before = build(hospital)
    with pytest.raises(CheckFailed):
        build(hospital, population={"sex": ["M"]})
    after = pd.read_parquet(build.data.cohort("made").table)
    assert columns(after, after.columns) == columns(before, before.columns)


def test_two_occurrences_in_one_patient_have_their_own_events(hospital, build):
    hospital.patient(1)
    for hadm_id, year in ((10, 2150), (11, 2151)):
        hospital.admission(1, hadm_id, f"{year}-03-01 10:00", f"{year}-03-02 10:00")
        hospital.event(1, f"{year}-03-01 11:00", "LAB//50983//mEq/L", year - 2010, hadm_id=hadm_id)
    _, table = build(
        hospital,
        population={"occurrence": "all"},
        features={"sodium": {"item": "sodium", "statistic": "first"}},
    )
    assert columns(table, ["subject_id", "sodium"]) == [[1, 140.0], [1, 141.0]]


def test_one_patient_is_a_cohort_that_says_it_is_small(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END)
    summary, _ = build(hospital)
    assert summary.is_small and "an honest result needs at least 500 and 200" in summary.small_reason
