"""The schema: public knowledge about each column, the same whatever the patients."""

import pytest

from ehr_pipeline.clinical import load_items
from ehr_pipeline.cohort import build_cohort, load_definitions
from ehr_pipeline.prepare import build_schema, load_schema, prepare_cohort
from ehr_pipeline_tests.cohort.hospital import Hospital, definition_of

DEFINITIONS = load_definitions()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_column_is_publicly_known(name):
    schema = build_schema(DEFINITIONS[name])
    assert schema.names == list(DEFINITIONS[name].columns)
    for column in schema.columns:
        assert column.title
        if column.is_number:
            assert column.minimum is not None and column.decimals is not None
            assert column.maximum is not None or column.statistic == "count"
        if column.kind == "categorical":
            assert column.levels
        if column.kind == "binary":
            assert not column.missing


def test_medicore_schema_is_the_case_studys():
    schema = build_schema(DEFINITIONS["medicore"])
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds == {
        **dict.fromkeys(("age", "bmi", "hba1c", "cholesterol", "systolic_bp", "creatinine"), "continuous"),
        "sex": "categorical",
        **dict.fromkeys(("diabetes", "hypertension", "cvd", "treatment", "adverse_event"), "binary"),
    }
    decimals = {column.name: column.decimals for column in schema.columns if column.is_number}
    assert decimals == {"age": 1, "bmi": 1, "hba1c": 2, "cholesterol": 0, "systolic_bp": 0, "creatinine": 2}
    assert (schema["age"].minimum, schema["age"].maximum, schema["age"].missing) == (0, 120, False)
    assert schema["sex"].levels == ("F", "M") and not schema["sex"].missing
    roles = {column.name: column.role for column in schema.columns if column.role != "feature"}
    assert roles == {"sex": "sensitive", "treatment": "treatment", "adverse_event": "outcome"}


def test_emergency_schema_has_text_hour_and_scores():
    schema = build_schema(DEFINITIONS["emergency"])
    assert [column.name for column in schema.of_kind("text")] == ["chief_complaint"]
    hour = schema["arrival_hour"]
    assert (hour.kind, hour.minimum, hour.maximum, hour.missing) == ("integer", 0, 23, False)
    assert (schema["acuity"].kind, schema["acuity"].minimum, schema["acuity"].maximum) == ("integer", 1, 5)
    assert {column.name for column in schema.with_role("sensitive")} == {"sex", "race"}
    assert not schema["race"].missing and "unknown" in schema["race"].levels


def test_item_columns_name_their_item_and_statistic():
    schema = build_schema(DEFINITIONS["icu_48h"])
    column, item = schema["creatinine_last"], load_items()["creatinine"]
    assert (column.item, column.statistic, column.unit) == ("creatinine", "last", item.unit)
    assert (column.minimum, column.maximum, column.decimals) == (item.minimum, item.maximum, item.decimals)
    assert column.title == "Creatinine, last"
    assert schema["gcs_motor_min"].kind == "integer"


def test_counts_means_and_decimals(tmp_path):
    features = {
        "scores": {"items": ["gcs_eye"], "statistics": ["first", "mean", "count"]},
        "age": {"fact": "age"},
        "age_exact": {"fact": "age", "decimals": 1},
        "site": {"fact": "site"},
        "again": {"follow_up": "readmission", "days": 30},
    }
    schema = build_schema(definition_of(tmp_path, features=features))
    assert [column.kind for column in schema.columns] == [
        *("integer", "continuous", "integer", "integer", "continuous", "categorical", "binary")
    ]
    count = schema["gcs_eye_count"]
    assert (count.minimum, count.maximum, count.missing, count.unit) == (0, None, False, None)
    assert schema["site"].role == "site" and schema["site"].levels is None
    assert schema["again"].title == "Readmission within 30 days"


def test_two_different_hospitals_give_the_identical_schema(tmp_path):
    """The schema file holds nothing of the patients: the same bytes over other events."""
    definition = DEFINITIONS["heart_failure"]
    files = []
    for number, (race, creatinine, gender) in enumerate((("WHITE", 1.0, "F"), ("Klingon", 9.0, "M"))):
        hospital = Hospital().patient(1, gender=gender)
        hospital.admission(1, 10, "2150-03-01 10:00", "2150-03-05 10:00", race=race)
        hospital.event(1, "2150-03-05 10:00", "DIAGNOSIS//ICD//10//I509", 1, hadm_id=10)
        hospital.event(1, "2150-03-01 11:00", "LAB//50912//mg/dL", creatinine, hadm_id=10)
        data = hospital.write(tmp_path / str(number))
        build_cohort(definition, data)
        prepare_cohort(definition, data)
        assert load_schema(data, "heart_failure") == build_schema(definition)
        files.append(data.cohort("heart_failure").schema.read_bytes())
    assert files[0] == files[1]
