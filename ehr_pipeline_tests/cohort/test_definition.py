"""What a cohort file may say, and what is answered when it says something else."""

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.cohort import load_definition, load_definitions
from ehr_pipeline.errors import DefinitionError
from ehr_pipeline_tests.cohort.hospital import definition_of

SHIPPED = load_definitions()
MEDICORE = [
    *("age", "sex", "bmi", "hba1c", "cholesterol", "systolic_bp", "creatinine"),
    *("diabetes", "hypertension", "cvd", "treatment", "adverse_event"),
]


def test_the_five_cohorts_ship():
    assert set(SHIPPED) == {"medicore", "icu_48h", "heart_failure", "diabetes", "emergency"}


def test_medicore_is_the_case_study():
    medicore = SHIPPED["medicore"]
    assert list(medicore.columns) == MEDICORE
    assert medicore.role("treatment") == "treatment" and medicore.role("adverse_event") == "outcome"
    assert [task.target for task in medicore.tasks] == ["adverse_event", "cvd", "diabetes"]
    assert medicore.causal.confounders == ("age", "diabetes", "hypertension", "cvd")
    assert medicore.causal.truth == "medicore"


def test_icu_48h_spreads_its_groups_into_columns():
    columns = SHIPPED["icu_48h"].columns
    assert 40 <= len(columns) <= 60
    assert {"heart_rate_min", "heart_rate_max", "heart_rate_mean", "lactate_first", "died_in_hospital"} <= set(columns)


def test_definitions_load_fast_enough_for_a_code_location():
    load_definitions()  # the first call reads the files
    begun = time.perf_counter()
    load_definitions()
    assert time.perf_counter() - begun < 0.1


def test_own_file_stands_beside_the_shipped_ones(tmp_path):
    definition_of(tmp_path, name="mine")
    assert set(load_definitions([tmp_path])) == {*SHIPPED, "mine"}


@pytest.mark.parametrize("name", ["medicore", "Mine", "my-cohort", "9lives", "report", "prepared", "mine.final"])
def test_name_that_is_taken_or_no_name_is_refused(tmp_path, name):
    (tmp_path / f"{name}.yaml").write_text(
        yaml.safe_dump(SHIPPED["medicore"].model_dump(mode="json", exclude={"name"}))
    )
    with pytest.raises(DefinitionError, match=name):
        load_definitions([tmp_path])


def test_absent_folder_is_refused(tmp_path):
    with pytest.raises(DefinitionError, match="does not exist"):
        load_definitions([tmp_path / "nowhere"])


def test_fingerprint_follows_what_the_file_says(tmp_path):
    first = definition_of(tmp_path, title="One")
    assert first.fingerprint == definition_of(tmp_path, title="One").fingerprint
    assert first.fingerprint != definition_of(tmp_path, title="Another").fingerprint


AGE = {"fact": "age"}
WRONG = [
    ({"windw": {}}, "windw: there is no such field"),
    ({"title": 5}, "title: "),
    ({"index": "birth"}, "index: "),
    ({"window": {}}, "window: give hours_after"),
    ({"window": {"until": "visit"}}, "window.until"),
    ({"window": {"hours_after": -1}}, "window.hours_after"),
    ({"features": {}}, "features: "),
    ({"features": {"a": "age"}}, "features.a: a feature has exactly one of"),
    ({"features": {"a": {"fact": "age", "item": "sodium"}}}, "features.a: a feature has exactly one of"),
    ({"features": {"A b": AGE}}, "features.A b: "),
    ({"features": {"subject_id": AGE}}, "may not be named subject_id"),
    ({"features": {"a": {"fact": "disposition"}}}, "needs the index ed_arrival"),
    ({"features": {"a": {"fact": "height"}}}, "features.a.fact: "),
    ({"features": {"a": {"fact": "sex", "decimals": 1}}}, "features.a: only a number has decimals"),
    ({"features": {"a": {"item": "sodum", "statistic": "first"}}}, "features.a.item: .*did you mean sodium"),
    ({"features": {"a": {"item": "sodium"}}}, "features.a.statistic: is missing"),
    ({"features": {"a": {"item": "sodium", "statistic": "median"}}}, "features.a.statistic: "),
    ({"features": {"a": {"item": "sodium", "statistic": "first", "sources": ["LAB//1"]}}}, "features.a: sources"),
    ({"features": {"a": {"items": ["sodium", "sodium"], "statistics": ["first"]}}}, "features.a.items: .*twice"),
    ({"features": {"sodium_first": AGE, "a": {"items": ["sodium"], "statistics": ["first"]}}}, "same name"),
    ({"features": {"a": {"codes": "diabets"}}}, "features.a.codes: .*did you mean diabetes"),
    ({"features": {"a": {"codes": {"icd9": [250]}}}}, "features.a.codes.icd9: .*quotes"),
    ({"features": {"a": {"codes": {"icd10": ["I20-I10"]}}}}, "features.a.codes.icd10: "),
    ({"features": {"a": {"codes": {}}}}, "features.a.codes: list at least one"),
    ({"features": {"a": {"drugs": "statin"}}}, "features.a.drugs: .*did you mean statins"),
    ({"features": {"a": {"drugs": []}}}, "features.a.drugs: "),
    ({"features": {"a": {"follow_up": "readmission"}}}, "features.a.days: is missing"),
    ({"population": {"age_years": {"minimum": 90, "maximum": 20}}}, "population.age_years: minimum is above"),
    ({"population": {"sex": []}}, "population.sex: "),
    ({"population": {"diagnoses": {"any_of": ["nope"]}}}, "population.diagnoses.any_of.*unknown code set"),
    ({"population": {"occurrence": "second"}}, "population.occurrence: "),
    ({"outcome": "b"}, "outcome names b"),
    ({"sensitive": ["b"]}, "sensitive names b"),
    ({"tasks": [{"target": "b"}]}, "tasks names b"),
    ({"tasks": [{"target": "age"}]}, "task age must be a binary or categorical"),
    ({"tasks": [{"target": "sex", "level": "X"}]}, "task sex needs a level: F, M"),
    ({"causal": {"treatment": "sex", "outcome": "age"}}, "causal: sex must be a binary"),
    ({"split": {"holdout_share": 1}}, "split.holdout_share: "),
    ({"name": "mine"}, "name: take it out"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=[str(next(iter(c.items())))[:60] for c, _ in WRONG])
def test_fault_is_named_by_file_and_field(tmp_path, changes, said):
    base = {
        "title": "x",
        "index": "admission",
        "window": {"until": "admission"},
        "features": {"age": AGE, "sex": {"fact": "sex"}},
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(base | changes, sort_keys=False))
    with pytest.raises(DefinitionError, match=said) as caught:
        load_definition(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"- a",
        b"a: [",
        b"\xff\xfe\x00",
        b"title: x\ntitle: y",
        b"1: 2",
        b"!!python/object/apply:os.system ['true']",
    ],
)
def test_file_that_is_no_cohort_gets_one_line(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text)
    with pytest.raises(DefinitionError) as caught:
        load_definition(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 400) | st.text(max_size=12),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "title",
                        "index",
                        "window",
                        "features",
                        "until",
                        "fact",
                        "item",
                        "codes",
                        "drugs",
                        "age",
                        "population",
                        "sex",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_yaml_is_a_cohort_or_a_definition_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "mine.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        assert load_definition(path).name == "mine"
    except DefinitionError as error:
        assert "\n" not in str(error)
