"""What each form of feature is worth, on hand-made patients whose answers can be worked out by eye."""

import pandas as pd
import pytest

from ehr_pipeline.cohort import load_summary
from ehr_pipeline_tests.cohort.hospital import columns

BEGIN, END = "2150-03-01 10:00", "2150-03-05 10:00"
STATISTICS = ("first", "last", "min", "max", "mean", "count")


@pytest.fixture
def admitted(hospital):
    """One patient with one admission."""
    return hospital.patient(1).admission(1, 10, BEGIN, END)


def row(build, hospital, features, **changes):
    """The only row of the table, as a list in the order of the features."""
    _, table = build(hospital, features=features, **changes)
    [values] = columns(table, table.columns[1:])
    return values


def test_statistics_of_an_item_in_the_window(admitted, build):
    """Sodium 140, 150, 131 in the window; 100 the day before and 199 after discharge are outside."""
    values = (
        ("02-28 10:00", 100),
        ("03-01 11:00", 140),
        ("03-02 11:00", 150),
        ("03-03 11:00", 131),
        ("03-06 11:00", 180),
    )
    for time, number in values:
        admitted.event(1, f"2150-{time}", "LAB//50983//mEq/L", number, hadm_id=10)
    features = {"lab": {"items": ["sodium"], "statistics": list(STATISTICS)}}
    assert row(build, admitted, features) == [140, 131, 131, 150, 140.3, 3]  # (140 + 150 + 131) / 3 = 140.33


def test_item_without_values_is_missing_and_counts_zero(admitted, build):
    features = {"lab": {"items": ["sodium"], "statistics": list(STATISTICS)}}
    assert row(build, admitted, features) == [None] * 5 + [0]


def test_impossible_value_is_passed_over_and_counted(admitted, build):
    admitted.event(1, "2150-03-01 11:00", "LAB//50983//mEq/L", 1400, hadm_id=10)
    admitted.event(1, "2150-03-01 12:00", "LAB//50983//mEq/L", -1, hadm_id=10)
    admitted.event(1, "2150-03-01 13:00", "LAB//50983//mEq/L", 140, hadm_id=10)
    assert row(build, admitted, {"sodium": {"item": "sodium", "statistic": "first"}}) == [140]
    assert load_summary(build.data, "made").impossible_values == {"sodium": 2}


def test_unknown_unit_is_not_read_and_is_warned_of(admitted, build):
    admitted.event(1, "2150-03-01 11:00", "LAB//50912//umol/L", 88, hadm_id=10)
    admitted.event(1, "2150-03-01 12:00", "LAB//50912//UNK", 1.25, hadm_id=10)
    summary, table = build(
        admitted, features={"creatinine": {"item": "creatinine", "statistic": "first", "decimals": 2}}
    )
    assert table["creatinine"].tolist() == [1.25]
    assert summary.warnings == ("Creatinine: 1 values carry an unknown unit and were not read",)


def test_column_without_any_value_is_warned_of(admitted, build):
    summary, _ = build(admitted, features={"sodium": {"item": "sodium", "statistic": "first"}})
    assert summary.warnings == ("column sodium: no member has a value",)


def test_units_are_converted_and_rounded_to_the_items_decimals(admitted, build):
    admitted.event(1, "2150-03-01 11:00", "VITAL//223761//°F", 98.7, hadm_id=10)
    features = {"temperature": {"item": "temperature_c", "statistic": "first"}}
    assert row(build, admitted, features) == [37.1]  # (98.7 - 32) / 1.8 = 37.06


def test_value_of_the_same_time_comes_from_the_preferred_source(admitted, build):
    admitted.event(1, "2150-03-01 11:00", "VITAL//220050//mmHg", 150, hadm_id=10)  # arterial
    admitted.event(1, "2150-03-01 11:00", "VITAL//220179//mmHg", 120, hadm_id=10)  # cuff: first in the catalogue
    features = {"both": {"items": ["systolic_bp"], "statistics": ["first", "last"]}}
    assert row(build, admitted, features) == [120, 120]


def test_sources_keep_to_some_of_an_items_codes(admitted, build):
    admitted.event(1, "2150-03-01 11:00", "VITAL//220050//mmHg", 150, hadm_id=10)
    admitted.event(1, "2150-03-01 12:00", "VITAL//220179//mmHg", 120, hadm_id=10)
    features = {
        "cuff": {"item": "systolic_bp", "statistic": "first", "sources": ["VITAL//220179"]},
        "any": {"item": "systolic_bp", "statistic": "first"},
    }
    assert row(build, admitted, features) == [120, 150]


def test_body_mass_index_is_of_the_first_weight_and_height(admitted, build):
    """80 kg and 200 cm: 80 / 2.0 ** 2 = 20; the later 100 kg does not count."""
    admitted.event(1, "2150-03-01 11:00", "VITAL//226512//kg", 80, hadm_id=10)
    admitted.event(1, "2150-03-02 11:00", "VITAL//224639//kg", 100, hadm_id=10)
    admitted.event(1, "2150-03-01 11:00", "VITAL//226730//cm", 200, hadm_id=10)
    assert row(build, admitted, {"bmi": {"fact": "bmi"}}) == [20]


def test_age_has_the_decimals_asked_for(hospital, build):
    """Birth year 2100, admitted on 1 July 2151, day 182 of 365: 51 + 181 / 365 = 51.496 years."""
    hospital.patient(1, birth_year=2100).admission(1, 10, "2151-07-01 10:00", "2151-07-02 10:00")
    features = {"age": {"fact": "age"}, "age_exact": {"fact": "age", "decimals": 2}}
    assert row(build, hospital, features) == [51, 51.5]


@pytest.mark.parametrize(("within", "found"), [("admission", [1, 0]), ("history", [0, 1]), ("window", [0, 0])])
def test_diagnosis_within_admission_history_or_window(hospital, build, within, found):
    """Pneumonia in the index admission of 2151, diabetes in the one of 2150; both coded at discharge, after 24 h."""
    hospital.patient(1)
    for hadm_id, year, code in ((10, 2150, "E119"), (11, 2151, "J189")):
        hospital.admission(1, hadm_id, f"{year}-03-01 10:00", f"{year}-03-05 10:00")
        hospital.event(1, f"{year}-03-05 10:00", f"DIAGNOSIS//ICD//10//{code}", 1, hadm_id=hadm_id)
    features = {
        "pneumonia": {"codes": "pneumonia", "within": within},
        "diabetes": {"codes": "diabetes", "within": within},
    }
    window = {"hours_after": 24}
    assert row(build, hospital, features, window=window, population={"occurrence": "last"}) == found


def test_drug_in_the_admission_or_only_in_the_window(admitted, build):
    admitted.event(1, "2150-03-03 10:00", "MEDICATION//NORepinephrine", hadm_id=10)
    features = {
        "stay": {"drugs": "vasopressors"},
        "day": {"drugs": "vasopressors", "within": "window"},
        "named": {"drugs": ["norepinephrine"]},
        "other": {"drugs": "statins"},
    }
    assert row(build, admitted, features, window={"hours_after": 24}) == [1, 0, 1, 0]


def test_facts_of_an_admission(admitted, build):
    features = {
        name: {"fact": name}
        for name in ("sex", "race", "insurance", "admission_type", "discharge_location", "arrival_hour", "stay_hours")
    }
    assert row(build, admitted, features) == ["F", "WHITE", "Medicare", "URGENT", "HOME", 10, 96]


def test_facts_of_an_icu_stay(admitted, build):
    admitted.icu_stay(1, 10, 100, "2150-03-01 12:00", "2150-03-03 00:00")
    features = {"unit": {"fact": "first_careunit"}, "days": {"fact": "stay_days"}, "site": {"fact": "site"}}
    expected = ["Medical Intensive Care Unit (MICU)", 1.5, None]
    assert row(build, admitted, features, index="icu_admission", window={"until": "stay"}) == expected


def test_facts_of_an_emergency_visit(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END, race="ASIAN").visit(1, 100, "2150-03-01 04:30", BEGIN)
    features = {name: {"fact": name} for name in ("arrival_hour", "race", "arrival_transport", "disposition")}
    features |= {"acuity": {"item": "acuity", "statistic": "first"}, "words": {"fact": "chief_complaint"}}
    expected = [4, "ASIAN", "AMBULANCE", "HOME", 2, "CHEST  PAIN, Dyspnea"]
    assert row(build, hospital, features, index="ed_arrival", window={"until": "visit"}) == expected


def test_emergency_diagnosis_counts_for_its_visit_and_not_for_the_admission(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END).visit(1, 100, "2150-03-01 04:00", BEGIN, hadm_id=10)
    hospital.event(1, BEGIN, "ED_DIAGNOSIS//ICD//10//I509", 1, stay_id=100)
    features = {"heart_failure": {"codes": "heart_failure"}}
    assert row(build, hospital, features) == [0]
    assert row(build, hospital, features, index="ed_arrival", window={"until": "visit"}) == [1]


def test_race_is_the_one_written_down_nearest_in_time(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END, race="UNKNOWN")
    hospital.admission(1, 11, "2151-03-01 10:00", "2151-03-02 10:00", race="WHITE")
    hospital.event(1, "2151-02-27 10:00", "RACE//BLACK/AFRICAN AMERICAN", hadm_id=12)
    assert row(build, hospital, {"race": {"fact": "race"}}, population={"occurrence": "last"}) == ["WHITE"]


@pytest.mark.parametrize(
    ("death", "discharge", "in_hospital_and_within_30_days"),
    [
        (None, "HOME", [0, 0]),
        (("2150-03-04 09:00", 10), "DIED", [1, 1]),
        (("2150-03-20", None), "HOME", [0, 1]),
        (("2150-03-05", None), "HOME", [0, 1]),  # a date of death on the day of discharge is not a death in hospital
        (("2150-06-01", None), "HOME", [0, 0]),
    ],
)
def test_death_in_hospital_and_after_it(admitted, build, death, discharge, in_hospital_and_within_30_days):
    if discharge != "HOME":
        admitted.rows = [one for one in admitted.rows if one["code"] != "DISCHARGE//HOME"]
        admitted.event(1, END, f"DISCHARGE//{discharge}", hadm_id=10)
    if death is not None:
        admitted.event(1, death[0], "MEDS_DEATH", hadm_id=death[1])
    features = {"died": {"fact": "died_in_hospital"}, "dead_30d": {"follow_up": "death", "days": 30}}
    assert row(build, admitted, features) == in_hospital_and_within_30_days


@pytest.mark.parametrize(("days_later", "found"), [(1, 1), (30, 1), (31, 0)])
def test_readmission_counts_from_discharge(admitted, build, days_later, found):
    again = pd.Timestamp(END) + pd.Timedelta(days=days_later)
    admitted.admission(1, 11, str(again), str(again + pd.Timedelta(days=1)))
    assert row(build, admitted, {"again": {"follow_up": "readmission", "days": 30}}) == [found]


def test_members_events_are_those_of_the_window_as_they_stand(hospital, build):
    hospital.patient(1).admission(1, 10, BEGIN, END).patient(2).admission(2, 20, BEGIN, END)
    hospital.event(1, "2150-02-28 10:00", "LAB//1//x", 1).event(2, BEGIN, "LAB//2//x", 2, text="as it stands")
    hospital.event(2, END, "LAB//3//x", 3)
    summary, _ = build(hospital, population={"sex": ["F"]})
    events = pd.read_parquet(build.data.cohort("made").events)
    assert list(events.columns) == [
        *("subject_id", "time", "code", "numeric_value", "text_value", "hadm_id", "stay_id", "member")
    ]
    labs = events[events["code"].str.startswith("LAB")]
    assert columns(labs, ["member", "code", "numeric_value", "text_value"]) == [
        [1, "LAB//2//x", 2.0, "as it stands"],
        [1, "LAB//3//x", 3.0, None],
    ]
    assert summary.n_events == len(events)
    assert set(events.loc[events["time"].isna(), "code"]) == {"GENDER//F"}


def test_the_same_events_give_the_same_bytes(admitted, build):
    admitted.event(1, BEGIN, "LAB//50983//mEq/L", 140).event(1, BEGIN, "LAB//50983//mEq/L", 141)
    build(admitted)
    folder = build.data.cohort("made")
    files = (folder.members, folder.events, folder.table, folder.split, folder.summary)
    before = [path.read_bytes() for path in files]
    admitted.rows.reverse()
    build(admitted)
    assert [path.read_bytes() for path in files] == before


def test_files_are_the_owners_alone_and_nothing_is_left_beside_them(admitted, build):
    build(admitted)
    files = list(build.data.cohort("made").root.iterdir())
    assert {path.name for path in files} == {
        *("members.parquet", "events.parquet", "table.parquet", "split.parquet", "stay_events.parquet", "cohort.json")
    }
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
